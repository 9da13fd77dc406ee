"""Bad input of `jobs.sweep` and `jobs.plan`: one line per fault, exit 2, before Ray starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import plan

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "jobs/configs/sweep_text2sql.yaml"
CASES = {
    "sweep.learning_rat=[1e-3]": ["sweep.learning_rat", "did you mean train.learning_rate?"],
    "sweep.learning_rate={min: 1e-2, max: 1e-3}": ["0.01 to max 0.001 is empty"],
    "sweep.learning_rate=[]": ["sweep.learning_rate", "no values"],
    "num_sampless=3": ["sweep.num_sampless", "did you mean sweep.num_samples?"],
    "metric=acuracy": ["sweep.metric: unknown metric 'acuracy'", "known: execution_accuracy"],
    "max_disk_bytes=1000": ["sweep.max_disk_bytes: 1,000", "one checkpoint takes 1,695,744"],
    "max_concurrent_trials=4000": ["sweep.max_concurrent_trials: 4000", "fit"],
    "sweep.lora_target_modules=[[q_proj], [query]]": ["query match no layer", "q_proj"],
    "num_eval_workers=2": ["set num_eval_workers=0"],
}
# One process for all cases, because imports take seconds. Ray must not have started at its end.
CODE = """
import json, sys
from datasets_src.errors import UserError
from jobs.sweep import main
faults = {}
for case in json.loads(sys.argv[1]):
    try:
        main([sys.argv[2], "output_dir=" + sys.argv[3], case])
    except UserError as error:
        faults[case] = error.faults
ray = sys.modules.get("ray")
print(json.dumps({"faults": faults, "ray": ray is not None and ray.is_initialized()}))
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory, pocket: Path) -> dict[str, list[str]]:
    """The faults that each bad override causes."""
    runs = tmp_path_factory.mktemp("bad") / "runs"
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(CASES)), CONFIG, str(runs)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ray"] is False and not list(runs.glob("sweep*"))
    faults: dict[str, list[str]] = found["faults"]
    return faults


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_one_line_with_key_value_and_remedy(
    faults: dict[str, list[str]], case: str
) -> None:
    assert len(faults[case]) == 1
    assert all(word in faults[case][0] for word in CASES[case]), faults[case]


def test_the_command_exits_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.sweep", CONFIG, "sweep.lora_rr=[8]", "scheduler=hyper"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: sweep.") for line in lines), lines


def test_finetune_names_the_verb_that_reads_a_sweep() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.finetune", CONFIG], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and "sweep: is read by python -m jobs.sweep" in done.stderr


def test_the_plan_counts_memory_disk_and_trials(
    pocket: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert plan.main([CONFIG]) == 0
    output = capsys.readouterr().out
    assert "trains    141,312 parameters (lora)" in output and "a checkpoint 1.7 MB" in output
    assert f"fit {len(os.sched_getaffinity(0))} cores at 1 each" in output
