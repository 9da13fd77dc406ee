"""Whether the disk quota allows the next segment, and what a group leaves when it has ended.

quota = DiskQuota(limit=2 * 10**9, checkpoint_bytes=60_000_000)
quota.allows(task, controller)        # False: not yet
"""

from dataclasses import dataclass, field

from datasets_src.errors import UserError
from trainers.run.scores import best_of, read_scores
from trainers.storage.checkpoints import step_name
from tune.resources.disk import free_space, prune_to_best, used_bytes
from tune.trials.controller import ENDED, SweepController, Task


@dataclass
class DiskQuota:
    """`limit` in bytes (None: no limit); `checkpoint_bytes` of the largest trial."""

    limit: int | None
    checkpoint_bytes: int
    _pruned: set[str] = field(default_factory=set)

    def allows(self, task: Task, controller: SweepController) -> bool:
        """Whether a task fits next to those that run, after pruning.

        Raises:
            UserError: it does not, and nothing runs that would free space.
        """
        if self.limit is None or task.segment is None:
            return True
        per_trial = controller.sweep.settings.max_checkpoints * self.checkpoint_bytes
        needed = (1 + len(controller.running)) * per_trial
        if free_space(
            controller.directory,
            limit=self.limit,
            needed=needed,
            active=active_runs(controller) | {task.name},
            protected=parent_checkpoints(controller) | best_checkpoint(controller),
        ):
            return True
        if controller.running:
            return False
        used = used_bytes(controller.directory)
        raise UserError(
            f"sweep.max_disk_bytes: {self.limit:,}, but the sweep uses {used:,} that it needs, "
            f"and a running trial writes {needed:,}; set max_disk_bytes={used + needed}"
        )

    def prune_ended(self, controller: SweepController) -> None:
        """Prune the runs that no segment will continue."""
        active = active_runs(controller)
        for group in controller.groups:
            for segment in group.segments:
                if segment.run.key not in active | self._pruned:
                    self._pruned.add(segment.run.key)
                    prune_to_best(segment.run.directory)


def active_runs(controller: SweepController) -> set[str]:
    """Keys of the runs that a running or later segment continues or branches from."""
    active: set[str] = set()
    for group in controller.groups:
        if controller.status(group).state not in ENDED:
            for segment in group.segments:
                if not controller.is_done(segment):
                    active |= {segment.run.key}
                    active |= {segment.parent[0].key} if segment.parent else set()
    return active


def parent_checkpoints(controller: SweepController) -> set[tuple[str, str]]:
    """Run and name of the checkpoints that later segments branch from."""
    return {
        (segment.parent[0].key, step_name(segment.parent[1]))
        for group in controller.groups
        if controller.status(group).state not in ENDED
        for segment in group.segments
        if segment.parent is not None and not controller.is_done(segment)
    }


def best_checkpoint(controller: SweepController) -> set[tuple[str, str]]:
    """Run and name of the best checkpoint so far; of equal scores the first group's."""
    found = []
    runs = {each.run.key: each.run for group in controller.groups for each in group.segments}
    for number, run in enumerate(runs.values()):
        best = best_of(read_scores(run.directory))
        if best is not None:
            found.append((best.merit, -number, run.key, best.name))
    return {max(found)[2:]} if found else set()
