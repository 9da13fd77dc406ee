"""One side of a benchmark in its own process, driven by commands on stdin.

    python -m tests.benchmarks.step.process ours BASE_DIR bfloat16 STEPS_FILE

Commands, one per line, each answered by one line of JSON on stdout: `load`; `step 3` (the cost of
the fourth step in the file); `pss`; `exit`. So sides run in turn, CPU seconds and memory are those
of one side, and no side's process state affects another.
"""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class SideProcess:
    """The parent's handle on a side's process."""

    def __init__(self, side: str, base_dir: Path, dtype: str, steps_file: Path) -> None:
        self.log = base_dir / f"{side}-{dtype}-{steps_file.stem}.log"
        # OpenMP's default wait policy, as in a run; an idle process sleeps anyway.
        inherited = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
        self.child = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, side, base_dir, dtype, steps_file],
            cwd=ROOT,
            env={**inherited, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self.child.stdin is not None and self.child.stdout is not None
        print(command, file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline()
        if not answer:
            tail = self.log.read_text()[-2000:]
            raise RuntimeError(
                f"{self.log.stem}: process exited during {command!r}; its log ends with:\n{tail}"
            )
        return dict(json.loads(answer))

    def close(self) -> None:
        """End the process and wait for it."""
        self.child.communicate("exit\n")


def kib(path: str, key: str) -> int:
    """The value in kB of a key in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def serve(side_name: str, base_dir: Path, dtype: str, steps_file: Path) -> None:
    """Answer commands until `exit`; what libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch

    from tests.benchmarks.step.rows import read_steps
    from tests.benchmarks.step.sides import open_side

    if side_name != "ours":
        importlib.import_module("trl")
    steps = read_steps(steps_file)
    side, loaded_kib = None, 0
    for line in sys.stdin:
        command, *numbers = line.split()
        answer: dict[str, Any] = {}
        if command == "exit":
            break
        if command == "load":
            side = open_side(side_name, base_dir, getattr(torch, dtype))
            # Mapped weights count once they are read; they are read now, not in the first step.
            for weight in side.model.parameters():
                weight.detach().sum()
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak
            loaded_kib = kib("/proc/self/status", "VmRSS")
        elif command == "step":
            assert side is not None
            answer = asdict(side.step(steps[int(numbers[0])]))
            answer["peak_mib"] = (kib("/proc/self/status", "VmHWM") - loaded_kib) / 1024
        else:
            # Return what the allocator keeps of a step's activations to the system.
            ctypes.CDLL(None).malloc_trim(0)
            answer["pss_mib"] = kib("/proc/self/smaps_rollup", "Pss") / 1024
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
