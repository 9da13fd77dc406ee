"""A side in a process of its own, which takes a step when it is told to.

    python -m tests.benchmarks.step.process ours BASE_DIR bfloat16 STEPS_FILE

Commands on stdin, one a line, each answered by one line of JSON on stdout: `load`; `step 3` (the
cost of the fourth step of the file); `pss`; `exit`. So the sides take
turns, CPU seconds and memory are those of one side, and nothing that one does to its process
reaches the other.
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
    """The parent's end."""

    def __init__(self, side: str, base_dir: Path, dtype: str, steps_file: Path) -> None:
        self.log = base_dir / f"{side}-{dtype}-{steps_file.stem}.log"
        # Threads wait for each other as in a run; a process without work sleeps all the same.
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
        """Send a command and wait for its answer."""
        assert self.child.stdin is not None and self.child.stdout is not None
        print(command, file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline()
        if not answer:
            tail = self.log.read_text()[-2000:]
            raise RuntimeError(f"{self.log.stem} ended at {command!r}:\n{tail}")
        return dict(json.loads(answer))

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self.child.communicate("exit\n")


def kib(path: str, key: str) -> int:
    """A number of kB in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def serve(side_name: str, base_dir: Path, dtype: str, steps_file: Path) -> None:
    """Answer commands until `exit`. Whatever libraries print goes to the log."""
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
            # Mapped weights count once they are read; the step shall not be charged with them.
            for weight in side.model.parameters():
                weight.detach().sum()
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
            loaded_kib = kib("/proc/self/status", "VmRSS")
        elif command == "step":
            assert side is not None
            answer = asdict(side.step(steps[int(numbers[0])]))
            answer["peak_mib"] = (kib("/proc/self/status", "VmHWM") - loaded_kib) / 1024
        else:
            # What the allocator keeps of a step's activations goes back first.
            ctypes.CDLL(None).malloc_trim(0)
            answer["pss_mib"] = kib("/proc/self/smaps_rollup", "Pss") / 1024
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
