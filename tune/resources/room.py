"""Room on the disk for the next leg, and what a line that has come to its end leaves there.

room = Room(limit=2 * 10**9, checkpoint_bytes=60_000_000)
room.for_task(task, director)        # False: not yet
"""

from dataclasses import dataclass, field

from datasets_src.errors import UserError
from trainers.run.scores import best_of, read_scores
from trainers.storage.checkpoints import step_name
from tune.resources.disk import make_room, prune_settled, used_bytes
from tune.trials.director import Director, Task

AT_AN_END = ("finished", "stopped", "failed")


@dataclass
class Room:
    """`limit` in bytes, None without one; `checkpoint_bytes` of the largest trial."""

    limit: int | None
    checkpoint_bytes: int
    _settled: set[str] = field(default_factory=set)

    def for_task(self, task: Task, director: Director) -> bool:
        """Whether the disk holds what a task writes beside those that run.

        Raises:
            UserError: it does not, and nothing else runs that would leave room.
        """
        if self.limit is None or task.leg is None:
            return True
        each = director.sweep.settings.checkpoints_at_work * self.checkpoint_bytes
        needed = (1 + len(director.running)) * each
        if make_room(
            director.directory,
            limit=self.limit,
            needed=needed,
            live=live_runs(director) | {task.name},
            kept=starts(director) | leader_of(director),
        ):
            return True
        if director.running:
            return False
        used = used_bytes(director.directory)
        raise UserError(
            f"sweep.max_disk_bytes: {self.limit:,}, but {used:,} are in use by what the sweep "
            f"needs and a trial at work writes {needed:,}; set max_disk_bytes={used + needed}"
        )

    def settle(self, director: Director) -> None:
        """Prune the runs that no leg will go on with."""
        live = live_runs(director)
        for line in director.lines:
            for leg in line.legs:
                if leg.run.key not in live | self._settled:
                    self._settled.add(leg.run.key)
                    prune_settled(leg.run.directory)


def live_runs(director: Director) -> set[str]:
    """Keys of the runs that a leg to come, or one at work, goes on with or begins from."""
    live: set[str] = set()
    for line in director.lines:
        if director.standing(line).state not in AT_AN_END:
            for leg in line.legs:
                if not director.is_done(leg):
                    live |= {leg.run.key} | ({leg.start[0].key} if leg.start else set())
    return live


def starts(director: Director) -> set[tuple[str, str]]:
    """Run and name of the checkpoints that legs to come begin with."""
    return {
        (leg.start[0].key, step_name(leg.start[1]))
        for line in director.lines
        if director.standing(line).state not in AT_AN_END
        for leg in line.legs
        if leg.start is not None and not director.is_done(leg)
    }


def leader_of(director: Director) -> set[tuple[str, str]]:
    """Run and name of the best checkpoint so far; of equals the first line's."""
    found = []
    for number, run in enumerate(
        {leg.run.key: leg.run for ln in director.lines for leg in ln.legs}.values()
    ):
        best = best_of(read_scores(run.directory))
        if best is not None:
            found.append((best.merit, -number, run.key, best.name))
    return {max(found)[2:]} if found else set()
