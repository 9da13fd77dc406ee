"""What every verb shares: choices in --help, a reader that leaves early, the OpenMP policy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.common.cli import BROKEN_PIPE_EXIT, key_lines
from trainers.config.load import leaves

ROOT = Path(__file__).resolve().parents[3]
VERBS = sorted(p.stem for p in (ROOT / "jobs").glob("*.py") if p.stem != "__init__")


def run(command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m {command}"],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )


def test_help_lists_every_method_and_other_choices() -> None:
    lines = list(key_lines("config", leaves()))
    [method] = [line for line in lines if line.startswith("  method.method_type ")]
    assert "(lora, dora, qlora, full) [lora]" in method
    [schedule] = [line for line in lines if line.startswith("  train.lr_scheduler_type ")]
    assert "(cosine, linear, constant, warmup_stable_decay, piecewise_constant)" in schedule
    [double] = [line for line in lines if ".bnb_4bit_use_double_quant " in line]
    assert double.endswith("[True]")


@pytest.mark.parametrize("verb", ["finetune", "sweep", "evaluate"])
def test_a_reader_that_leaves_early_ends_the_verb_quietly(verb: str) -> None:
    ran = run(f"jobs.{verb} --help | head -c 1")
    assert (len(ran.stdout), ran.stderr) == (1, "")
    assert ran.returncode in (0, BROKEN_PIPE_EXIT), "0: all was in the pipe before head left"


def test_output_after_the_reader_has_left_is_no_traceback() -> None:
    code = (
        "import sys, time\n"
        "from jobs.common.cli import run_verb\n"
        "def main(argv):\n"
        "    for _ in range(100_000): print('x' * 100)\n"
        "    return 0\n"
        "run_verb(main)\n"
    )
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'{sys.executable} -c "$CODE" | head -n 1'],
        cwd=ROOT,
        env=os.environ | {"CODE": code},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (BROKEN_PIPE_EXIT, "x" * 100 + "\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_openmp_threads_of_a_verb_wait_without_spinning(verb: str) -> None:
    """OMP_DISPLAY_ENV has the runtime print its settings when torch loads it."""
    code = f"import runpy; import jobs.{verb}; import torch"
    environ = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
    )
    policies = re.findall(r"OMP_WAIT_POLICY ?= ?'(\w+)'", ran.stderr)
    assert policies and set(policies) == {"PASSIVE"}, ran.stderr[-500:]
