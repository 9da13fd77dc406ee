"""The budget: the worst checkpoints go first, what is needed stays."""

from pathlib import Path

from tests.tune.conftest import SweepOf
from tests.tune.trials.test_director import SECTION, start, train
from trainers.storage.checkpoints import list_checkpoints, save_checkpoint
from tune.resources.disk import make_room, used_bytes
from tune.resources.room import Room, leader_of, live_runs
from tune.trials.director import Director

SIZE = 100_000


def save(run_dir: Path, step: int) -> None:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"x" * SIZE)

    save_checkpoint(run_dir / "checkpoints", step=step, attempt="a", write=write)


def steps_of(run_dir: Path) -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(run_dir / "checkpoints")]


def swept(sweep_of: SweepOf, directory: Path, *, legs: int) -> Director:
    """So many legs in order, each with a checkpoint at its end; nothing is pruned."""
    director = start(sweep_of(SECTION), directory)
    while legs and (task := director.next_task()) is not None:
        director.begin(task)
        train(task)
        if task.leg is not None:
            save(task.leg.run.directory, task.leg.until)
            legs -= 1
        director.end(task, {"cpu_s": 1, "wall_s": 1})
    return director


def test_a_line_at_its_end_keeps_its_best_checkpoint(sweep_of: SweepOf, tmp_path: Path) -> None:
    director = swept(sweep_of, tmp_path, legs=4)
    first, second = (director.lines[i].legs[0].run.directory for i in (0, 1))
    assert steps_of(first) == [28, 14, 7] and steps_of(second) == [7]
    Room(None, SIZE).settle(director)
    assert steps_of(first) == [28] and steps_of(second) == [7]


def test_room_is_made_by_score_and_the_leader_stays(sweep_of: SweepOf, tmp_path: Path) -> None:
    director = swept(sweep_of, tmp_path, legs=6)
    Room(None, SIZE).settle(director)
    used, leader = used_bytes(tmp_path), leader_of(director)
    assert leader == {(director.lines[0].legs[0].run.key, "step-000028")}
    runs = [line.legs[0].run.directory for line in director.lines]
    for free, left in ((1, [[28], [7], [7]]), (2 * SIZE, [[28], [7], []]), (10**9, [[28], [], []])):
        fits = make_room(
            tmp_path, limit=used + 1, needed=free, live=live_runs(director), kept=leader
        )
        assert fits == (free < 10**9)
        assert [steps_of(run) for run in runs[:3]] == left


def test_the_newest_checkpoint_of_a_line_that_goes_on_stays(
    sweep_of: SweepOf, tmp_path: Path
) -> None:
    director = swept(sweep_of, tmp_path, legs=2)
    run = director.lines[0].legs[0].run
    assert run.key in live_runs(director)
    assert not make_room(tmp_path, limit=1, needed=1, live=live_runs(director), kept=())
    assert steps_of(run.directory) == [14]


def test_a_leg_waits_for_room_that_another_will_leave(sweep_of: SweepOf, tmp_path: Path) -> None:
    director = swept(sweep_of, tmp_path, legs=2)
    task = director.next_task()
    assert task is not None
    limit = used_bytes(tmp_path) + director.sweep.settings.checkpoints_at_work * SIZE + 1000
    assert Room(limit, SIZE).for_task(task, director)
    director.begin(task)
    other = director.next_task()
    assert other is not None and not Room(limit, SIZE).for_task(other, director)
