"""Put an export's folders in the outbox, with their cards, and push what can be pushed now.

folders = {"gguf": (run_dir / "export", ["demo-f16.gguf", "demo-q8_0.gguf"])}
push_exports(run_dir, config=config, message="step-000140", folders=folders, say=print)

A push that fails waits in the outbox and stops nothing: `python -m jobs.publish RUN_DIR`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainers.card import card_text
from trainers.config import Config
from trainers.hub import Kind, repo_id_for
from trainers.outbox import drain, enqueue


def push_exports(
    run_dir: Path,
    *,
    config: Config,
    message: str,
    folders: Mapping[Kind, tuple[Path, Sequence[str]]],
    say: Callable[[str], None],
) -> None:
    """Push kind -> (folder, names of its files), one commit each; the same content never twice."""
    for kind, (folder, files) in folders.items():
        enqueue_export(
            run_dir, config=config, kind=kind, folder=folder, files=files, message=message
        )
    for result in drain(run_dir, hub=config.hub):
        say(f"push      {result.line()}")
        if not result.ok:
            say(f"          kept in the outbox; push it by: python -m jobs.publish {run_dir}")


def enqueue_export(
    run_dir: Path,
    *,
    config: Config,
    kind: Kind,
    folder: Path,
    files: Sequence[str],
    message: str,
    branch: str = "main",
) -> None:
    """Put one folder's files in the outbox, with the card of its kind."""
    enqueue(
        run_dir,
        kind=kind,
        folder=folder,
        repo_id=repo_id_for(config.hub, kind),
        message=message,
        branch=branch,
        # The base's own card, copied with its tokenizer, gives way to ours.
        files=[name for name in files if name != "README.md"],
        card=card_text(run_dir, config=config, kind=kind),
    )
