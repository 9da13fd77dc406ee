"""A worker is killed at every place where a checkpoint, a record or a score is half done."""

from collections.abc import Callable

import pytest

from tests.faults.harness import Held, Runs, held

Tell = Callable[[Held], None]
PLACES = [
    "before_step:step=8:rank=1",
    "after_step:step=8:rank=0",
    "after_shard_write:step=10",
    "before_manifest:step=10",
    "after_manifest:step=10",
    "after_rename:step=10",
    "after_record:step=10",
    "after_save:step=10:rank=1",
    "during_prune:step=20",
    "after_prune:step=20",
    "before_step:step=10:rank=1",  # the first step of the second epoch
    "during_evaluation:step=10:rank=1",
    "after_score:step=10",
    "after_manifest:step=27",
    "after_rename:step=27",
    "during_evaluation:step=27:rank=0",
]


@pytest.mark.parametrize("place", PLACES)
def test_worker_SIGKILL_at(runs: Runs, tell: Tell, place: str) -> None:
    name = "worker-" + place.replace(":", "-").replace("=", "")
    runs.finish(name, failpoints=f"{place}:SIGKILL")
    cost = held(runs, name)
    assert cost.attempts == 2, "nothing was killed"
    tell(cost)
