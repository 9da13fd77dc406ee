"""Cost of fault tolerance: a save every 20 steps, a ledger line per step, the lease's heartbeat.

    python -m tests.benchmarks.bench_checkpoint      # last line: one JSON object

4 of Salamandra-2b's 24 layers, LoRA r16 on the seven projections, small steps (16 rows of 64
tokens): adapter, step and save are all a sixth of the full model's, so the fixed cost of a save
counts six times. Steps and saves alternate. Wall seconds: the median of the saves over the minimum
of the steps, which suffer more from other load on the machine.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from datasets_src.types import TokenizedExample
from tests.benchmarks.step.models import SHAPES, make_base
from tests.benchmarks.step.sides import Ours
from trainers.lease.lease import Lease
from trainers.methods import lora
from trainers.methods.merge_adapter import ADAPTER_WEIGHTS
from trainers.models.load import compute_dtype
from trainers.run.records import open_records
from trainers.step.optimizer import FILE as OPTIMIZER
from trainers.step.optimizer import optimizer_state
from trainers.storage.checkpoints import list_checkpoints, prune, save_checkpoint
from trainers.storage.json_files import write_json
from trainers.storage.local import LocalStorage

ROUNDS, SAVES_PER_ROUND = 3, 4
NUM_ROWS, ROW_TOKENS = 16, 64
SAVE_STEPS, KEEP = 20, 3
LEDGER_LINES, LEASE_S = 500, 5.0


def make_rows() -> list[TokenizedExample]:
    """One step's rows, which share nothing; the second half of each is trained."""
    draw = torch.Generator().manual_seed(0)
    vocab = SHAPES["2b"].vocab
    ids = torch.randint(5, vocab, (NUM_ROWS, ROW_TOKENS), generator=draw).tolist()
    return [TokenizedExample(f"row-{i}", "", tuple(r), ROW_TOKENS // 2) for i, r in enumerate(ids)]


def save(side: Ours, store: Path, *, step: int) -> None:
    """Save a checkpoint as the training loop does."""

    def write(folder: Path) -> None:
        lora.save(side.model, folder, base_name="salamandra-2b")
        save_file(optimizer_state(side.optimizer, side.model), folder / OPTIMIZER)
        write_json(folder / "trainer_state.json", {"step": step, "epoch": 0.5})

    save_checkpoint(store, step=step, attempt="a", write=write)


def ledger_seconds(run_dir: Path, rows: list[TokenizedExample]) -> list[float]:
    """Seconds of each ledger line as the loop writes it: rank, row ids and loss of a step."""
    ids = [row.id for row in rows]
    with open_records(run_dir, ledger="ledger/a-rank1.jsonl", rank=1, after=0) as records:
        return [
            seconds(
                partial(
                    records.append,
                    "ledger",
                    {"attempt": "a", "rank": 1, "step": n, "ids": ids, "loss": (1 / n).hex()},
                )
            )
            for n in range(1, LEDGER_LINES + 1)
        ]


def lease_share(run_dir: Path) -> float:
    """CPU seconds of a lease per second that it is held."""
    with Lease.take(LocalStorage(run_dir)):
        before = time.process_time()
        time.sleep(LEASE_S)
        return (time.process_time() - before) / LEASE_S


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(scratch: Path) -> dict[str, float]:
    """Minimum time of a step, medians of the other times, and the bytes of a checkpoint."""
    base, store = scratch / "base", scratch / "run" / "checkpoints"
    base.mkdir()
    make_base(SHAPES["2b"], base)
    side, rows = Ours(base, compute_dtype("auto"), "cpu"), make_rows()
    side.step(rows)
    steps, saves, prunes = list[float](), list[float](), list[float]()
    for number in range(ROUNDS * SAVES_PER_ROUND):
        if number % SAVES_PER_ROUND == 0:
            steps.append(side.step(rows).wall_s)
        saves.append(seconds(partial(save, side, store, step=number)))
        prunes.append(seconds(partial(prune, store, keep=KEEP, also=[1])))
    folder = list_checkpoints(store)[0].path
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    return {
        "step_s": min(steps),
        "save_s": statistics.median(saves),
        "prune_s": statistics.median(prunes),
        "ledger_s": statistics.median(ledger_seconds(scratch / "run", rows)),
        "lease_ratio": lease_share(scratch / "run"),
        "adapter_bytes": sizes[ADAPTER_WEIGHTS],
        "bytes_over_adapter": sum(sizes.values()) / sizes[ADAPTER_WEIGHTS],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch))
    of_a_save = (figures["save_s"] + figures["prune_s"]) / (SAVE_STEPS * figures["step_s"])
    of_a_line = figures["ledger_s"] / figures["step_s"]
    print(f"step {figures['step_s']:.3f} s, save {figures['save_s']:.3f} s, ", end="")
    print(f"prune {figures['prune_s']:.3f} s, ledger line {1e6 * figures['ledger_s']:.0f} us")
    print(f"saves every {SAVE_STEPS} steps      {of_a_save:7.2%} of the step time")
    print(f"a ledger line per step    {of_a_line:7.2%}")
    print(f"the lease                 {figures['lease_ratio']:7.2%}")
    print(f"checkpoint over adapter   {figures['bytes_over_adapter']:7.3f} of its bytes")
    figures |= {
        "save_ratio": of_a_save,
        "ledger_ratio": of_a_line,
        "ratio": of_a_save + of_a_line + figures["lease_ratio"],
    }
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    print(json.dumps({"bench": "checkpoint", **rounded}))


if __name__ == "__main__":
    main()
