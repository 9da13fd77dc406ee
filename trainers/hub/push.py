"""Enqueue an export's folders with their model cards and push them; push checkpoints in a run.

folders = {"gguf": (run_dir / "export", ["demo-f16.gguf", "demo-q8_0.gguf"])}
push_exports(run_dir, config=config, message="step-000140", folders=folders, say=print)

A failed push stays in the outbox and does not stop the run: `python -m jobs.publish RUN_DIR`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.hub.card import card_text
from trainers.hub.client import Kind, repo_id_for
from trainers.hub.outbox import drain, enqueue, items
from trainers.methods.choose import method_module
from trainers.run.location import RunLocation
from trainers.run.scores import find_score
from trainers.storage.checkpoints import step_name
from trainers.storage.json_files import read_jsonl


def push_exports(
    run_dir: Path,
    *,
    config: Config,
    message: str,
    folders: Mapping[Kind, tuple[Path, Sequence[str]]],
    say: Callable[[str], None],
) -> None:
    """Push each folder in one commit; content that was pushed before makes none.

    Args:
        folders: kind -> (folder, names of its files).
    """
    for kind, (folder, files) in folders.items():
        enqueue_export(
            run_dir, config=config, kind=kind, folder=folder, files=files, message=message
        )
    for result in drain(run_dir, hub=config.hub):
        say(f"push      {result.line()}")
        if not result.ok:
            say(f"          kept in the outbox; to push it, run: python -m jobs.publish {run_dir}")


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
    """Enqueue one folder's files with the model card of its kind."""
    enqueue(
        run_dir,
        kind=kind,
        folder=folder,
        repo_id=repo_id_for(config.hub, kind),
        message=message,
        branch=branch,
        # Our card replaces the base's, which was copied with its tokenizer.
        files=[name for name in files if name != "README.md"],
        card=card_text(run_dir, config=config, kind=kind),
    )


POLL_EVERY_S = 2.0


class SavePusher:
    """A thread that pushes each scored checkpoint once, to the branch of its step."""

    def __init__(self, location: RunLocation, *, config: Config) -> None:
        self._location, self._run_dir, self._config = location, location.run_dir, config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "SavePusher":
        if self._config.hub.push == "every_save":
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()

    def _follow(self) -> None:
        # A step pushed by an earlier attempt is not pushed again: each push costs a commit.
        pushed = {item.branch for item in items(self._run_dir)}
        stopping = False
        while not stopping:
            stopping = self._stop.wait(POLL_EVERY_S)
            self._location.refresh()
            for row in list(read_jsonl(self._run_dir / "checkpoints.jsonl")):
                branch = step_name(row["step"])
                scored = find_score(self._run_dir, branch) is not None
                if branch in pushed or not scored:
                    continue
                folder = self._location.fetch(row["path"])
                if folder.is_dir():
                    pushed.add(branch)
                    self._push(folder, branch)

    def _push(self, folder: Path, branch: str) -> None:
        enqueue_export(
            self._run_dir,
            config=self._config,
            kind="checkpoint",
            folder=folder,
            files=method_module(self._config.method).FILES,
            message=folder.name,
            branch=branch,
        )
        try:
            results = drain(self._run_dir, hub=self._config.hub)
        except UserError as error:  # another process drains this outbox, our item included
            print(f"push      {error}", flush=True)
            return
        for result in results:
            print(f"push      {result.line()}", flush=True)
