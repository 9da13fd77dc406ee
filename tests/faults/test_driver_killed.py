"""`kill -9` of the driver in the middle of a run; the same command ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from trainers.checkpoints import list_checkpoints
from trainers.run_dir import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
STEPS = 24


def command(output_dir: Path) -> list[str]:
    return [
        sys.executable, "-m", "jobs.quickstart", f"output_dir={output_dir}",
        f"max_steps={STEPS}", "save_strategy=steps", "save_steps=6", "save_total_limit=9",
        "eval_on_start=false", "max_new_tokens=4", "eval_batch_size=64", "export_best=false",
    ]  # fmt: skip


def run_to_end(output_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(output_dir), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def final_adapter(output_dir: Path) -> bytes:
    newest = list_checkpoints(output_dir / "quickstart/checkpoints")[0]
    assert newest.step == STEPS
    return (newest.path / "adapter_model.safetensors").read_bytes()


def kill_after_step(output_dir: Path, step: int) -> None:
    """Start the run, and SIGKILL the driver when `step` is in its metrics."""
    metrics = output_dir / "quickstart/metrics.jsonl"
    with (output_dir.parent / f"{output_dir.name}.log").open("wb") as log:
        driver = subprocess.Popen(command(output_dir), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 180
        while max((r["step"] for r in read_jsonl(metrics)), default=0) < step:
            assert driver.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()


def test_the_same_command_continues_to_the_same_bytes(tmp_path: Path, pocket: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    done = run_to_end(undisturbed)
    assert done.returncode == 0, done.stdout + done.stderr
    kill_after_step(disturbed, 9)
    status = json.loads((disturbed / "quickstart/run.json").read_text())["status"]
    assert status == "running", "the kill came too late"
    done = run_to_end(disturbed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert final_adapter(disturbed) == final_adapter(undisturbed)
    steps = [row["step"] for row in read_jsonl(disturbed / "quickstart/metrics.jsonl")]
    assert steps == list(range(1, STEPS + 1))
    attempts = {r["attempt"] for r in read_jsonl(disturbed / "quickstart/metrics.jsonl")}
    assert len(attempts) == 2
    again = run_to_end(disturbed)
    assert again.returncode == 0 and "is finished" in again.stdout
