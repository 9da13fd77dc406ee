"""From a config and prepared rows to trained checkpoints: attempts, until the plan is done.

    fit(config, prepared_dir=prepared.directory)

An attempt (attempt.py) ends because it is done, because its workers were told to leave, or because
something failed; then the next one begins at the newest valid checkpoint, with as many workers as
there is room for, unless what failed would fail again.
"""

import time
from pathlib import Path

import ray

from datasets_src.errors import UserError
from datasets_src.store import open_split
from trainers.attempt import Ending, run_attempt
from trainers.config import Config
from trainers.examiner import Examiner
from trainers.resources import wait_for_workers
from trainers.run_dir import append_jsonl, write_json
from trainers.run_facts import PROGRESS
from trainers.run_home import RunHome, output_mirror, rows_name
from trainers.save_push import SavePusher
from trainers.stop import RunFailed, StopRequest
from trainers.watcher import Watcher

FAULTS = "faults.jsonl"


def fit(
    config: Config,
    *,
    prepared_dir: Path,
    home: RunHome | None = None,
    stop: StopRequest | None = None,
    until: int | None = None,
) -> None:
    """Train until the plan's end, or until the step `until` is saved.

    Raises:
        UserError: a fault that no restart mends (a row over the budget, too few resources, no
            space, no memory, a loss that is not finite).
        RunFailed: the same exception twice, or `max_failures` restarts without a new checkpoint.
        Stopped: by a signal, when the workers have saved.
    """
    check_budget(config, prepared_dir)
    stop, home = stop or StopRequest(), home or RunHome(config)
    run_dir = home.run_dir
    if (rows := output_mirror(config)) is not None:
        rows.push_folder(rows_name(prepared_dir))
    home.push()
    patience = Patience(home, config.scaling.max_failures)
    with (
        Watcher(run_dir) as watcher,
        SavePusher(home, config=config),
        Examiner(config, run_dir=run_dir, prepared_dir=prepared_dir, say=watcher.say) as examiner,
        stop.graceful(),
    ):
        while True:
            num_workers, cpus = wait_for_workers(
                config, stop=stop, say=watcher.say, beside=examiner.num_waiting
            )
            examiner.start(cpus)
            examiner.forget_after(home.newest_step())
            ending = run_attempt(
                config,
                run_dir=run_dir,
                prepared_dir=prepared_dir,
                num_workers=num_workers,
                cpus=cpus,
                stop=stop,
                watcher=watcher,
                until=until,
                beside=examiner.look,
            )
            home.refresh()
            write_json(run_dir / PROGRESS, ending.word.state)
            if ending.kind == "finished":
                examiner.finish(lambda: _wait(watcher, stop))
                return
            stop.raise_if_asked()
            if ending.kind == "failed":
                patience.judge(ending, num_workers)
            watcher.say(f"restart   {ending.why}; goes on after step {home.newest_step()}")


def _wait(watcher: Watcher, stop: StopRequest) -> None:
    watcher.show({"phase": "score what is left"})
    stop.raise_if_asked()


class Patience:
    """Decides whether a failed attempt is tried again; keeps faults.jsonl."""

    def __init__(self, home: RunHome, max_failures: int) -> None:
        self._home, self._run_dir, self._max_failures = home, home.run_dir, max_failures
        self._seen: set[str] = set()
        self._num, self._step = 0, home.newest_step()

    def judge(self, ending: Ending, num_workers: int) -> None:
        """Return if another attempt may do better.

        Raises:
            UserError, RunFailed: what would fail again, with what to do.
        """
        step, fault = self._home.newest_step(), ending.fault
        self._record(ending, step, num_workers)
        if fault is not None and fault.kind == "user":
            raise UserError(*fault.message.split("\n"))
        if fault is not None and fault.kind == "storage":
            raise UserError(
                f"output_dir: {self._run_dir} is full ({fault.message}); free some space; the same "
                f"command goes on after step {step}"
            )
        if who := out_of_memory(ending):
            raise UserError(
                f"{who} ran out of memory; lower train.max_tokens_per_micro_batch, "
                f"eval.eval_batch_size or scaling.num_workers; the same command goes on after "
                f"step {step}"
            )
        if step > self._step:  # what came before did not keep the run from going on
            self._seen.clear()
            self._num, self._step = 0, step
        if fault is not None and fault.signature in self._seen:
            raise RunFailed(
                f"worker {fault.rank} failed twice in the same way: {fault.message}; its traceback "
                f"is in {self._run_dir / FAULTS}; checkpoint of step {step} stands"
            )
        if fault is not None:
            self._seen.add(fault.signature)
        self._num += 1
        if self._num > self._max_failures:
            raise RunFailed(
                f"the workers failed {self._num} times after step {step} (scaling.max_failures: "
                f"{self._max_failures}); last: {ending.why}"
            )
        time.sleep(min(self._num - 1, 10))

    def _record(self, ending: Ending, step: int, num_workers: int) -> None:
        fault = ending.fault
        append_jsonl(
            self._run_dir / FAULTS,
            {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "attempt": ending.attempt,
                "num_workers": num_workers,
                "checkpoint_step": step,
                "why": ending.why,
                "rank": None if fault is None else fault.rank,
                "traceback": None if fault is None else fault.traceback,
            },
        )


def out_of_memory(ending: Ending) -> str | None:
    """The worker that had too little memory, and where; None if it was something else."""
    places = ending.word.places
    if (fault := ending.fault) is not None:
        ranks = [fault.rank] if fault.kind == "memory" else []
    else:
        failures: dict[int, Exception] = getattr(ending.error, "worker_failures", {})
        # Ray's memory monitor ends a process when the node is nearly full.
        ranks = [
            rank
            for rank, error in failures.items()
            if isinstance(error, ray.exceptions.OutOfMemoryError)
            or "running low on memory" in str(error)
        ]
    told = (f"worker {r}" + (f" on {places[r].host}" if r in places else "") for r in ranks)
    return ", ".join(told) or None


def check_budget(config: Config, prepared_dir: Path) -> None:
    """Refuse a row that no micro-batch may hold."""
    longest = int(open_split(prepared_dir, "train").lengths.max())
    if longest > config.train.max_tokens_per_micro_batch:
        raise UserError(
            f"train.max_tokens_per_micro_batch: {config.train.max_tokens_per_micro_batch}, but the "
            f"longest row has {longest} tokens; set max_tokens_per_micro_batch={longest} or lower "
            "data.max_length"
        )
