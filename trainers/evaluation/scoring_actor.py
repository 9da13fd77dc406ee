"""The Ray actor that scores checkpoints with a model of its own (scoring_pool.py starts it).

actor = ScoringActor(config.model_dump(mode="json"), run_dir, prepared_dir, num_threads=2)
score = actor.score("step-000140", checkpoint)
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from datasets_src.prepared.store import open_split
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.evaluation.score_checkpoint import EvalInputs, score_checkpoint
from trainers.methods.build import build_model
from trainers.methods.choose import method_module
from trainers.models.load import load_tokenizer
from trainers.models.resolve import resolve_base
from trainers.storage.checkpoints import damage
from trainers.storage.manifest import DamageError

LOWEST_NICENESS = 19


def set_idle_priority() -> None:
    """Run this thread and its children only on CPU time that no other process wants.

    The kernel treats a core that runs only SCHED_IDLE threads as idle: threads that wake up (Ray's
    own processes) are placed there instead of on training's cores. A high nice value does not do
    that; it is the fallback where the class does not exist.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(LOWEST_NICENESS)


class ScoringActor:
    """Scores one checkpoint or baseline after another; a plain class without Ray too.

    `idle_priority`: take only CPU time that training leaves (set_idle_priority).
    """

    def __init__(
        self,
        config: dict[str, Any],
        run_dir: str,
        prepared_dir: str,
        num_threads: int,
        *,
        idle_priority: bool = False,
    ) -> None:
        if idle_priority:
            set_idle_priority()
        torch.set_num_threads(num_threads)
        self._config, self._run_dir = Config.model_validate(config), Path(run_dir)
        model_dir = resolve_base(self._config)
        model = build_model(self._config, model_dir)
        splits = [open_split(Path(prepared_dir), name) for name in ("train", "validation")]
        self._inputs = EvalInputs(model, load_tokenizer(model_dir), model_dir, *splits)

    def score(self, name: str, checkpoint: str | None) -> Score | None:
        """The score of `name`, whose weights are in the directory `checkpoint`; None of a baseline.

        Raises:
            DamageError: files of the checkpoint do not match its manifest.
        """
        if checkpoint is not None:
            if (reason := damage(Path(checkpoint))) is not None:
                raise DamageError(reason)
            method_module(self._config.method).load(self._inputs.model, Path(checkpoint))
        return score_checkpoint(self._config, self._inputs, name, run_dir=self._run_dir)
