"""From a config and its rows to the run's optimizer steps and the steps that save a checkpoint.

plan = make_plan(config, train); saves = save_steps(config, train, len(plan))
"""

from datasets_src.batching.plan import plan_run, prefix_units, steps_per_epoch
from datasets_src.prepared.store import Split
from datasets_src.types import StepPlan
from trainers.config.schema import Config


def make_plan(config: Config, train: Split) -> list[StepPlan]:
    """All optimizer steps of the run: a pure function of config and rows."""
    units = None
    if config.train.sampling == "grouped":
        rows = [train.tokens(i).input_ids for i in range(len(train))]
        units = prefix_units(rows, config.train.sampling_group_size)
    return plan_run(
        len(train),
        seed=config.train.seed,
        num_epochs=config.train.num_train_epochs,
        max_steps=config.train.max_steps,
        train_batch_size=config.train.train_batch_size,
        units=units,
    )


def save_steps(config: Config, train: Split, total_steps: int) -> set[int]:
    """Steps after which a checkpoint is saved; always includes the last step."""
    every = config.checkpoint.save_steps
    if config.checkpoint.save_strategy == "epoch":
        every = steps_per_epoch(len(train), config.train.train_batch_size)
    return {*range(every, total_steps + 1, every), total_steps}
