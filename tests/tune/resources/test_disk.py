"""The disk quota: the worst checkpoints are deleted first, needed ones stay."""

from pathlib import Path

from tests.tune.conftest import SweepOf
from tests.tune.trials.test_controller import SECTION, start, train
from trainers.storage.checkpoints import list_checkpoints, save_checkpoint
from tune.resources.disk import free_space, used_bytes
from tune.resources.quota import DiskQuota, active_runs, best_checkpoint
from tune.trials.controller import SweepController

SIZE = 100_000


def save(run_dir: Path, step: int) -> None:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"x" * SIZE)

    save_checkpoint(run_dir / "checkpoints", step=step, attempt="a", write=write)


def steps_of(run_dir: Path) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(run_dir / "checkpoints")]


def swept(sweep_of: SweepOf, directory: Path, *, segments: int) -> SweepController:
    """A sweep after `segments` segments in order, each with a checkpoint; nothing is pruned."""
    controller = start(sweep_of(SECTION), directory)
    while segments and (task := controller.next_task()) is not None:
        controller.begin(task)
        train(task)
        if task.segment is not None:
            save(task.segment.run.directory, task.segment.until)
            segments -= 1
        controller.end(task, {"cpu_s": 1, "wall_s": 1})
    return controller


def test_an_ended_group_keeps_its_best_checkpoint(sweep_of: SweepOf, tmp_path: Path) -> None:
    controller = swept(sweep_of, tmp_path, segments=4)
    first, second = (controller.groups[i].segments[0].run.directory for i in (0, 1))
    assert steps_of(first) == [28, 14, 7] and steps_of(second) == [7]
    DiskQuota(None, SIZE).prune_ended(controller)
    assert steps_of(first) == [28] and steps_of(second) == [7]


def test_space_is_freed_by_score_and_the_best_checkpoint_stays(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    controller = swept(sweep_of, tmp_path, segments=6)
    DiskQuota(None, SIZE).prune_ended(controller)
    used, leader = used_bytes(tmp_path), best_checkpoint(controller)
    assert leader == {(controller.groups[0].segments[0].run.key, "step-000028")}
    runs = [group.segments[0].run.directory for group in controller.groups]
    for free, left in ((1, [[28], [7], [7]]), (2 * SIZE, [[28], [7], []]), (10**9, [[28], [], []])):
        fits = free_space(
            tmp_path, limit=used + 1, needed=free, active=active_runs(controller), protected=leader
        )
        assert fits == (free < 10**9)
        assert [steps_of(run) for run in runs[:3]] == left


def test_the_newest_checkpoint_of_a_continued_group_stays(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    controller = swept(sweep_of, tmp_path, segments=2)
    run = controller.groups[0].segments[0].run
    assert run.key in active_runs(controller)
    assert not free_space(tmp_path, limit=1, needed=1, active=active_runs(controller), protected=())
    assert steps_of(run.directory) == [14]


def test_a_segment_waits_for_space_that_another_will_free(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    controller = swept(sweep_of, tmp_path, segments=2)
    task = controller.next_task()
    assert task is not None
    limit = used_bytes(tmp_path) + controller.sweep.settings.max_checkpoints * SIZE + 1000
    assert DiskQuota(limit, SIZE).allows(task, controller)
    controller.begin(task)
    other = controller.next_task()
    assert other is not None and not DiskQuota(limit, SIZE).allows(other, controller)
