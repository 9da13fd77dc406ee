"""Scores checkpoints beside training: actors of their own answer, and training does not wait.

    with ScoringPool(config, run_dir=run_dir, prepared_dir=prepared_dir) as examiner:
        examiner.start(cpus); examiner.look(); ...; examiner.finish()

The driver hands out what is saved and has no score yet and writes scores.jsonl; a score is the one
that the training workers would have given. A killed actor's checkpoint is given to another, and a
killed driver's scores are made by the next one.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from datasets_src.prepared.store import open_split
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.process.signals import RunFailed
from trainers.run.scores import first_names
from trainers.step.plan import make_plan, save_steps
from trainers.storage.checkpoints import list_checkpoints, step_name
from trainers.storage.json_files import append_jsonl, read_jsonl, write_jsonl
from trainers.storage.manifest import DamageError

LOOK_EVERY_S = 0.5
MAX_DEATHS = 3


class ScoringPool:
    """`num_eval_workers` actors and what each is at; with none it does nothing."""

    def __init__(
        self,
        config: Config,
        *,
        run_dir: Path,
        prepared_dir: Path,
        say: Callable[[str], object] = print,
    ) -> None:
        self._config, self._run_dir, self._prepared_dir = config, run_dir, prepared_dir
        self._say = say
        self._num = config.eval.num_eval_workers
        self._cpus = 1
        self._actors: list[Any] = []
        self._at: dict[Any, tuple[str, str | None, Any]] = {}  # answer to come: name, path, actor
        self._deaths: dict[str, int] = {}
        self._void: set[str] = set()  # names that this run has no row of
        self._damaged: set[str | None] = set()  # directories, each told once
        self._looked = 0.0
        self._saves: set[int] = set()
        if self._num:
            train = open_split(prepared_dir, "train")
            self._saves = save_steps(config, train, len(make_plan(config, train)))

    def __enter__(self) -> "ScoringPool":
        return self

    def __exit__(self, *_: object) -> None:
        for actor in self._actors:
            ray.kill(actor)

    @property
    def num_waiting(self) -> int:
        """Actors that have no place in the cluster yet."""
        return self._num - len(self._actors)

    def start(self, cpus: int) -> None:
        """Take the actors' place, of so many CPUs each; before the workers take theirs."""
        self._cpus = cpus
        self._actors += [self._actor() for _ in range(self.num_waiting)]

    def forget_after(self, step: int) -> None:
        """Drop scores of steps that are done again; before an attempt that begins at `step`."""
        path = self._run_dir / "scores.jsonl"
        rows = list(read_jsonl(path))
        kept = [row for row in rows if (row["step"] or 0) <= step]
        if self._num and len(kept) < len(rows):
            write_jsonl(path, kept)

    def look(self) -> None:
        """Take in what is answered, and hand out what is saved."""
        now = time.monotonic()
        if not self._num or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        done, _ = ray.wait(list(self._at), num_returns=len(self._at), timeout=0)
        for answer in done:
            self._take_in(answer)
        busy = {id(actor) for _, _, actor in self._at.values()}
        if free := [actor for actor in self._actors if id(actor) not in busy]:
            for actor, (name, path) in zip(free, self._missing(), strict=False):
                self._at[actor.score.remote(name, path)] = (name, path, actor)

    def finish(self, while_waiting: Callable[[], object] = lambda: None) -> None:
        """Wait until every save is scored."""
        while self._num and (self._at or self._missing()):
            self.look()
            while_waiting()
            time.sleep(LOOK_EVERY_S / 2)

    def _missing(self) -> list[tuple[str, str | None]]:
        """Name and directory of what no score is there of and nobody is at, the oldest first."""
        known = {row["name"] for row in read_jsonl(self._run_dir / "scores.jsonl")}
        known |= self._void | {name for name, _, _ in self._at.values()}
        names: dict[str, str | None] = dict.fromkeys(first_names(self._config))
        for saved in reversed(list_checkpoints(self._run_dir / "checkpoints")):
            name = step_name(saved.step)
            if saved.step in self._saves and str(saved.path) not in self._damaged:
                names[name] = str(saved.path)
        return [(name, path) for name, path in names.items() if name not in known]

    def _take_in(self, answer: Any) -> None:
        name, path, actor = self._at.pop(answer)
        try:
            score: Score | None = ray.get(answer)
        except RayActorError as error:
            self._replace(name, actor, error)
            return
        except RayTaskError as error:
            if isinstance(error.cause, DamageError):
                self._damaged.add(path)
                self._say(f"damaged   {path} is not scored: {error.cause}")
                return
            raise RunFailed(f"{name} could not be scored: {error.cause}") from error
        if score is None:
            self._void.add(name)
        else:
            append_jsonl(self._run_dir / "scores.jsonl", asdict(score))

    def _replace(self, name: str, actor: Any, error: RayActorError) -> None:
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if self._deaths[name] >= MAX_DEATHS:
            raise RunFailed(f"{MAX_DEATHS} actors died while they answered for {name}: {error}")
        self._actors[self._actors.index(actor)] = self._actor()

    def _actor(self) -> Any:
        from trainers.evaluation.score_checkpoint import (
            ScoringActor,  # torch, which the driver of most runs needs not
        )

        gpus = 1 if self._config.scaling.use_gpu else 0
        make = ray.remote(ScoringActor).options(num_cpus=self._cpus, num_gpus=gpus)
        told = self._config.model_dump(mode="json")
        where = (str(self._run_dir), str(self._prepared_dir))
        return make.remote(told, *where, self._cpus, beside=True)
