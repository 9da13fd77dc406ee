"""Push checkpoints beside training (`hub.push: every_save`): a thread of the driver.

    with SavePusher(home, config=config): ...

A push that fails waits in the outbox and never stops the training.
"""

import threading
from pathlib import Path

from datasets_src.errors import UserError
from trainers.checkpoints import step_name
from trainers.config import Config
from trainers.export_push import enqueue_export
from trainers.methods.choose import method_module
from trainers.outbox import drain, items
from trainers.run_dir import read_jsonl
from trainers.run_home import RunHome
from trainers.scores import find_score

POLL_EVERY_S = 2.0


class SavePusher:
    """Follows checkpoints.jsonl; pushes each scored checkpoint once, to the branch of its step."""

    def __init__(self, home: RunHome, *, config: Config) -> None:
        self._home, self._run_dir, self._config = home, home.run_dir, config
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
            self._home.refresh()
            for row in list(read_jsonl(self._run_dir / "checkpoints.jsonl")):
                branch = step_name(row["step"])
                scored = find_score(self._run_dir, branch) is not None
                if branch in pushed or not scored:
                    continue
                folder = self._home.fetch(row["path"])
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
        except UserError as error:  # another process drains this outbox: it takes ours along
            print(f"push      {error}", flush=True)
            return
        for result in results:
            print(f"push      {result.line()}", flush=True)
