"""Push what waits in a run's outbox: after a failure of the network, or from another machine.

python -m jobs.publish runs/demo
python -m jobs.publish runs/demo hub_token_path=~/.hub-token
"""

from jobs.common.cli import parse_run, run_verb
from trainers.hub.outbox import drain


def main(argv: list[str]) -> int:
    """0 when nothing waits any more, 1 when a push failed (it stays in the outbox)."""
    run_dir, config = parse_run("publish", __doc__, argv)
    results = drain(run_dir, hub=config.hub)
    for result in results:
        print(result.line())
    if not results:
        print(f"nothing waits in {run_dir / 'outbox'}")
    failed = sum(not result.ok for result in results)
    if failed:
        print(f"{failed} of {len(results)} not pushed; kept in {run_dir / 'outbox'}, run again")
    return 1 if failed else 0


if __name__ == "__main__":
    run_verb(main)
