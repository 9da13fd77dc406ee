"""A pool of Ray actors that score checkpoints in the background during training.

    with ScoringPool(config, run_dir=run_dir, prepared_dir=prepared_dir) as scoring:
        scoring.start(cpus)
        scoring.poll()          # repeatedly, during training
        scoring.finish()

The driver assigns saved checkpoints without a score to idle actors (scoring_actor.py) and writes
scores.jsonl; the scores equal those that the training workers would compute. If an actor dies, its
checkpoint is assigned again; if the driver dies, the next driver scores what is missing.
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

POLL_INTERVAL_S = 0.5
MAX_DEATHS = 3


class ScoringPool:
    """`num_eval_workers` scoring actors and their assignments; without any, it does nothing."""

    def __init__(
        self,
        config: Config,
        *,
        run_dir: Path,
        prepared_dir: Path,
        log: Callable[[str], object] = print,
    ) -> None:
        self._config, self._run_dir, self._prepared_dir = config, run_dir, prepared_dir
        self._log = log
        self._num = config.eval.num_eval_workers
        self._cpus = 1
        self._actors: list[Any] = []
        # Pending result -> name, checkpoint directory, actor.
        self._assigned: dict[Any, tuple[str, str | None, Any]] = {}
        self._deaths: dict[str, int] = {}
        self._unscorable: set[str] = set()  # baselines that this run does not have
        self._damaged: set[str | None] = set()  # directories, each logged once
        self._polled_at = 0.0
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
        """Actors that are not started yet."""
        return self._num - len(self._actors)

    def start(self, cpus: int) -> None:
        """Start missing actors with `cpus` CPUs each, before the workers reserve theirs."""
        self._cpus = cpus
        self._actors += [self._start_actor() for _ in range(self.num_waiting)]

    def forget_after(self, step: int) -> None:
        """Drop scores after `step`, from which an attempt resumes: those steps run again."""
        path = self._run_dir / "scores.jsonl"
        rows = list(read_jsonl(path))
        kept = [row for row in rows if (row["step"] or 0) <= step]
        if self._num and len(kept) < len(rows):
            write_jsonl(path, kept)

    def poll(self) -> None:
        """Record finished scores and assign new checkpoints to idle actors."""
        now = time.monotonic()
        if not self._num or now - self._polled_at < POLL_INTERVAL_S:
            return
        self._polled_at = now
        done, _ = ray.wait(list(self._assigned), num_returns=len(self._assigned), timeout=0)
        for result in done:
            self._record(result)
        busy = {id(actor) for _, _, actor in self._assigned.values()}
        if free := [actor for actor in self._actors if id(actor) not in busy]:
            for actor, (name, path) in zip(free, self._missing(), strict=False):
                self._assigned[actor.score.remote(name, path)] = (name, path, actor)

    def finish(self, while_waiting: Callable[[], object] = lambda: None) -> None:
        """Wait until every saved checkpoint has a score."""
        while self._num and (self._assigned or self._missing()):
            self.poll()
            while_waiting()
            time.sleep(POLL_INTERVAL_S / 2)

    def _missing(self) -> list[tuple[str, str | None]]:
        """Names and directories without a score that no actor works on, the oldest first."""
        known = {row["name"] for row in read_jsonl(self._run_dir / "scores.jsonl")}
        known |= self._unscorable | {name for name, _, _ in self._assigned.values()}
        names: dict[str, str | None] = dict.fromkeys(first_names(self._config))
        for saved in reversed(list_checkpoints(self._run_dir / "checkpoints")):
            name = step_name(saved.step)
            if saved.step in self._saves and str(saved.path) not in self._damaged:
                names[name] = str(saved.path)
        return [(name, path) for name, path in names.items() if name not in known]

    def _record(self, result: Any) -> None:
        name, path, actor = self._assigned.pop(result)
        try:
            score: Score | None = ray.get(result)
        except RayActorError as error:
            self._replace(name, actor, error)
            return
        except RayTaskError as error:
            if isinstance(error.cause, DamageError):
                self._damaged.add(path)
                self._log(f"damaged   {path} is not scored: {error.cause}")
                return
            raise RunFailed(f"scoring {name} failed: {error.cause}") from error
        if score is None:
            self._unscorable.add(name)
        else:
            append_jsonl(self._run_dir / "scores.jsonl", asdict(score))

    def _replace(self, name: str, actor: Any, error: RayActorError) -> None:
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if self._deaths[name] >= MAX_DEATHS:
            raise RunFailed(f"{MAX_DEATHS} actors died while scoring {name}: {error}")
        self._actors[self._actors.index(actor)] = self._start_actor()

    def _start_actor(self) -> Any:
        # It imports torch, which the driver of a run without scoring actors does not need.
        from trainers.evaluation.scoring_actor import ScoringActor

        gpus = 1 if self._config.scaling.use_gpu else 0
        actor_class = ray.remote(ScoringActor).options(num_cpus=self._cpus, num_gpus=gpus)
        config = self._config.model_dump(mode="json")
        directories = (str(self._run_dir), str(self._prepared_dir))
        return actor_class.remote(config, *directories, self._cpus, idle_priority=True)
