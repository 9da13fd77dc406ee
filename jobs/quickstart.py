"""The whole path, small and offline: what `make quickstart` runs.

Raw rows -> tokenised on Ray Data -> LoRA on two Ray Train workers -> scored at each epoch ->
merged -> GGUF -> proven to answer the same -> report.html.
"""

from pathlib import Path

from jobs.cli import run_verb
from jobs.finetune import finetune
from trainers.config_load import load_config

CONFIG = Path(__file__).parent / "configs" / "quickstart.yaml"


def main(argv: list[str]) -> int:
    """Run jobs/configs/quickstart.yaml with the overrides given, as `jobs.finetune` does."""
    config, _ = load_config(CONFIG, argv)
    return finetune(config)


if __name__ == "__main__":
    run_verb(main)
