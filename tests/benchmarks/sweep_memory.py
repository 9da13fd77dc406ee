"""Memory of four concurrent trials on one base of 400 MB, compared with four copies of it.

memory_of_trials()["shared_mib"]       PSS of all four, each at the peak of a step

Each process does what a trial does: our step on a base mapped from its file. PSS divides shared
pages among the processes that map them, so that the sum is what all take together.
"""

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.step.models import Shape, make_base
from tests.benchmarks.step.process import SideProcess
from tests.benchmarks.step.rows import Rows, draw_steps, relabel, write_steps

NUM_TRIALS = 4
SHAPE = Shape(hidden=1536, intermediate=4096, layers=4, heads=12, vocab=30_000)
MIB = 2**20
# Weights, gradient and two moments of the adapter, in float32.
ADAPTER_COPIES = 4


def memory_of_trials() -> dict[str, float]:
    """MiB on one base and on four copies, and the sum of the parts of the former."""
    with tempfile.TemporaryDirectory() as folder:
        bases = [Path(folder) / str(number) for number in range(NUM_TRIALS)]
        bases[0].mkdir()
        rows = Rows.load(bases[0])
        base_bytes = make_base(SHAPE, bases[0])
        steps = draw_steps([[row] for row in rows.text2sql], units_a_step=16, num_steps=1)
        file = Path(folder) / "steps.json"
        write_steps(relabel(steps, SHAPE.vocab), file)
        for copy in bases[1:]:
            shutil.copytree(bases[0], copy)
        shared = _sum_of([bases[0]] * NUM_TRIALS, file)
        copies = _sum_of(bases, file)
    parts = shared["imports"] + shared["activations"] + NUM_TRIALS * _adapter_mib()
    return {
        "base_mib": round(base_bytes / MIB),
        "imports_mib": round(shared["imports"]),
        "activations_mib": round(shared["activations"]),
        "adapters_mib": round(NUM_TRIALS * _adapter_mib()),
        "parts_mib": round(base_bytes / MIB + parts),
        "shared_mib": round(shared["total"]),
        "copies_mib": round(copies["total"]),
    }


def _sum_of(bases: list[Path], file: Path) -> dict[str, float]:
    """Sums over the trials, all running: after imports, and each at the peak of a step."""
    with ExitStack() as stack:
        trials = []
        for base in bases:
            trials.append(SideProcess("ours", base, "bfloat16", file))
            stack.callback(trials[-1].close)
        imports = sum(trial.ask("pss")["pss_mib"] for trial in trials)
        for trial in trials:
            trial.ask("load")
        loaded = sum(trial.ask("pss")["pss_mib"] for trial in trials)
        # What a step adds at its peak: activations, gradient and moments.
        activations = sum(trial.ask("step 0")["peak_mib"] for trial in trials)
    return {"imports": imports, "activations": activations, "total": loaded + activations}


def _adapter_mib() -> float:
    hidden, mlp, rank = SHAPE.hidden, SHAPE.intermediate, 16
    values = SHAPE.layers * rank * (4 * 2 * hidden + 3 * (hidden + mlp))
    return ADAPTER_COPIES * 4 * values / MIB


if __name__ == "__main__":
    print(memory_of_trials())
