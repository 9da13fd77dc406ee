"""ZeRO through `train_step` has the replicated step's losses and a state for any world size."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.trainers.step.zero_group import STEPS, Group, Task

Run = Callable[[Task], dict[str, Any]]
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)


@pytest.fixture(scope="module")
def run(folder: Path) -> Iterator[Run]:
    """Runs a task on `task.world_size` processes, each task once."""
    groups = {world_size: Group(world_size, folder) for world_size in (1, 2)}
    done: dict[Task, dict[str, Any]] = {}

    def once(task: Task) -> dict[str, Any]:
        Path(task.folder).mkdir(exist_ok=True)
        if task not in done:
            done[task] = groups[task.world_size].run(task)
        return done[task]

    yield once
    for group in groups.values():
        group.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zero")


def losses(result: dict[str, Any]) -> list[float]:
    assert "error" not in result
    return [loss for loss, _ in result["steps"]]


@needs_deepspeed
@pytest.mark.parametrize("method", ["full", "lora", "tied"])
@pytest.mark.parametrize(("stage", "world_size"), [(2, 1), (2, 2), (3, 1), (3, 2)])
def test_zero_equals_the_replicated_step(
    run: Run, folder: Path, method: str, stage: int, world_size: int
) -> None:
    plain = run(Task(str(folder / f"{method}-plain"), stage=0, world_size=1, method=method))
    parts = run(Task(str(folder / f"{method}-{stage}-{world_size}"), stage, world_size, method))
    assert losses(parts) == pytest.approx(losses(plain), rel=1e-5)
    norms = [[norm for _, norm in result["steps"]] for result in (parts, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) and min(norms[1]) > 0.5
    assert not parts["same"] and losses(plain)[0] > 2


@needs_deepspeed
def test_offload_changes_nothing(run: Run, folder: Path) -> None:
    plain = run(Task(str(folder / "plain"), stage=0, world_size=1))
    for stage in (2, 3):
        parts = run(Task(str(folder / f"offload-{stage}"), stage, world_size=2, offload=True))
        assert losses(parts) == pytest.approx(losses(plain), rel=1e-5)


@needs_deepspeed
@pytest.mark.parametrize("method", ["full", "lora"])
def test_bfloat16_stays_within_its_rounding(run: Run, folder: Path, method: str) -> None:
    """At most 1.5 times as far from the float32 losses as the replicated step in bfloat16."""
    wide = losses(run(Task(str(folder / f"wide-{method}"), 0, 1, method)))
    plain = losses(run(Task(str(folder / f"narrow-{method}"), 0, 1, method, "bfloat16")))
    parts = losses(run(Task(str(folder / f"narrow-3-{method}"), 3, 2, method, "bfloat16")))
    errors = [math.dist(narrow, wide) / math.hypot(*wide) for narrow in (parts, plain)]
    assert 1e-5 < errors[0] < 1.5 * errors[1] < 2**-7


@needs_deepspeed
@pytest.mark.parametrize(
    ("method", "dtype", "first", "then"),
    [
        ("full", "float32", (3, 2), (2, 1)),
        ("full", "bfloat16", (2, 2), (3, 1)),
        ("lora", "float32", (2, 1), (3, 2)),
        ("lora", "bfloat16", (3, 2), (2, 1)),
    ],
)
def test_a_state_resumes_at_any_world_size(
    run: Run, folder: Path, method: str, dtype: str, first: tuple[int, int], then: tuple[int, int]
) -> None:
    state_dir = folder / f"state-{method}-{dtype}-{first}-{then}"
    run(Task(str(state_dir), *first, method, dtype))
    same_engine = run(Task(str(state_dir), *first, method, dtype, first_step=STEPS))
    moved = run(Task(str(state_dir), *then, method, dtype, first_step=STEPS))
    tolerance = 1e-5 if dtype == "float32" else 2**-8
    assert losses(moved) == pytest.approx(losses(same_engine), rel=tolerance)
    state = load_file(state_dir / f"state-{STEPS}.safetensors")
    assert {int(v) for k, v in state.items() if k.startswith("step.")} == {STEPS}
    assert any(k.startswith("master.") for k in state) == ((method, dtype) == ("full", "bfloat16"))


@needs_deepspeed
def test_a_state_resumes_in_the_replicated_step(run: Run, folder: Path) -> None:
    state_dir = str(folder / "to-replicated")
    run(Task(state_dir, stage=3, world_size=2))
    parts = run(Task(state_dir, stage=3, world_size=2, first_step=STEPS))
    plain = run(Task(state_dir, stage=0, world_size=1, first_step=STEPS))
    assert losses(plain) == pytest.approx(losses(parts), rel=1e-5)


@needs_deepspeed
@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    ("poison", "words"), [("loss", "loss nan"), ("gradient", "gradient norm inf")]
)
def test_non_finite_values_leave_the_weights_unchanged(
    run: Run, folder: Path, stage: int, poison: str, words: str
) -> None:
    result = run(Task(str(folder / f"{poison}-{stage}"), stage, world_size=2, poison=poison))
    assert result["steps"] == [] and words in result["error"] and result["same"]
