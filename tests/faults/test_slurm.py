"""`cluster/slurm.sbatch` on a real Slurm: launch, notice, requeue, clean end, other jobs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.ray_nodes import wait_until
from tests.cluster.slurm_daemons import Slurm, missing_programs
from tests.faults.harness import Cost, Runs, verify_recovery
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_json

pytestmark = pytest.mark.skipif(
    bool(missing_programs()),
    reason=f"no Slurm here: {', '.join(missing_programs())} (Debian: slurm-wlm munge)",
)

RecordCost = Callable[[Cost], None]


def submit(slurm: Slurm, output_dir: Path, *options: str) -> str:
    output_dir.mkdir()
    return slurm.submit(
        "cluster/slurm.sbatch",
        str(output_dir),
        options=["--cpus-per-task=1", f"--output={output_dir}/job.log", *options],
        env={"DRIVER": f"{sys.executable} tests/cluster/slurm_driver.py", "PYTHON": sys.executable},
    )


def starts(output_dir: Path) -> list[dict[str, Any]]:
    path = output_dir / "starts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_starts(output_dir: Path, number: int) -> None:
    wait_until(
        lambda: len(starts(output_dir)) == number, limit_s=240, what=f"start {number}: {output_dir}"
    )


def test_a_job_continues_after_its_time_and_leaves_nothing(tmp_path: Path) -> None:
    long, other = tmp_path / "long", tmp_path / "other"
    with Slurm() as slurm:
        # Slurm itself sends USR1, a minute before the limit or up to a minute earlier.
        job = submit(slurm, long, "--time=2", "--signal=B:USR1@60")
        wait_for_starts(long, 1)
        first = starts(long)[0]
        assert (first["nodes"], first["cpus"], first["ran_on"]) == (2, 2, 2)
        slurm.wait_for(job, "PENDING", limit_s=120)
        assert json.loads((long / "checkpoint").read_text()) == {"signal": "SIGUSR1", "nodes": 2}
        wait_until(lambda: not slurm.processes(job), limit_s=10, what=str(slurm.processes(job)))
        assert not Path(f"/tmp/ray-{job}").exists()

        # A second job on the same nodes, while the first one is requeued and ends.
        neighbour = submit(slurm, other, "--time=10")
        wait_for_starts(other, 1)
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else after two minutes
        slurm.wait_for(job, "COMPLETED", limit_s=240)
        assert [row["resumed"] for row in starts(long)] == [False, True]
        assert starts(long)[1]["restarts"] > first["restarts"]
        assert starts(long)[1]["nodes"] == 2
        assert slurm.processes(job) == [] and not Path(f"/tmp/ray-{job}").exists()

        # A job that was cancelled is not requeued.
        assert slurm.processes(neighbour)
        slurm.run("scancel", "--batch", "--signal=TERM", neighbour)
        slurm.wait_for(neighbour, "FAILED", limit_s=60)
        assert json.loads((other / "checkpoint").read_text()) == {"signal": "SIGTERM", "nodes": 2}
        assert "ExitCode=143:0" in slurm.run("scontrol", "show", "job", neighbour)
        assert slurm.processes(neighbour) == [] and not Path(f"/tmp/ray-{neighbour}").exists()


def test_a_run_resumes_after_its_time(runs: Runs, record_cost: RecordCost, tmp_path: Path) -> None:
    """The real verb: Slurm's notice arrives at step 8, where a worker sleeps."""
    log, mark = tmp_path / "job.log", tmp_path / "fired"
    mark.mkdir()
    with Slurm() as slurm:
        job = slurm.submit(
            "cluster/slurm.sbatch",
            *(str(runs.output_dir / "config.yaml"), "run_name=slurm"),
            # The notice comes one to two minutes after the start.
            options=["--cpus-per-task=1", f"--output={log}", "--time=4", "--signal=B:USR1@120"],
            env={
                "PYTHON": sys.executable,
                "GALLIPATO_FAILPOINTS": "before_step:step=8:rank=1:sleep=100",
                "GALLIPATO_FAILPOINTS_DIR": str(mark),
            },
        )
        slurm.wait_for(job, "RUNNING", limit_s=60)
        slurm.wait_for(job, "PENDING", limit_s=300)
        wait_until(lambda: not slurm.processes(job), limit_s=15, what=str(slurm.processes(job)))
        output = log.read_text()
        assert "exit code 143 after USR1" in output, output
        record = read_json(runs.run_dir("slurm") / "run.json")
        assert (record["status"], record["exit_code"]) == ("stopped", 143)
        assert list_checkpoints(runs.run_dir("slurm") / "checkpoints")[0].step == 8
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else after two minutes
        slurm.wait_for(job, "COMPLETED", limit_s=240)
        assert "exit code 0;" in log.read_text().removeprefix(output)
        assert slurm.processes(job) == []
    cost = verify_recovery(runs, "slurm", kills=0)
    assert (cost.redone, cost.attempts) == (0, 2)
    record_cost(cost)
