"""The whole path, small and offline: what `make quickstart` runs.

Raw rows -> tokenised on Ray Data -> LoRA on two Ray Train workers -> scored at each epoch ->
merged -> GGUF -> proven to answer the same -> report.html.
"""

from pathlib import Path

from jobs.common.cli import config_parser, parse_config, run_verb
from jobs.finetune import finetune

CONFIG = Path(__file__).parent / "configs" / "quickstart.yaml"


def main(argv: list[str]) -> int:
    """Run jobs/configs/quickstart.yaml with the overrides given, as `jobs.finetune` does."""
    parser = config_parser(
        "quickstart", "The whole path on what we ship.", argv=argv, config=CONFIG
    )
    return finetune(parse_config(parser, argv))


if __name__ == "__main__":
    run_verb(main)
