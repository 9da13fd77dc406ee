"""Push what waits in a run's outbox: after a failure of the network, or from another machine.

python -m jobs.publish runs/demo
python -m jobs.publish runs/demo hub_token_path=~/.hub-token
"""

import argparse
from pathlib import Path

from datasets_src.errors import UserError
from jobs.cli import run_verb
from trainers.config_load import load_config
from trainers.outbox import drain


def main(argv: list[str]) -> int:
    """0 when nothing waits any more, 1 when a push failed (it stays in the outbox)."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="<output_dir>/<run_name>")
    args, overrides = parser.parse_known_args(argv)
    if not (args.run_dir / "config.yaml").is_file():
        raise UserError(f"{args.run_dir}: no run there (no config.yaml); give a run directory")
    config, _ = load_config(args.run_dir / "config.yaml", overrides)
    results = drain(args.run_dir, hub=config.hub)
    for result in results:
        print(result.line())
    if not results:
        print(f"nothing waits in {args.run_dir / 'outbox'}")
    failed = sum(not result.ok for result in results)
    if failed:
        print(
            f"{failed} of {len(results)} not pushed; kept in {args.run_dir / 'outbox'}, run again"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    run_verb(main)
