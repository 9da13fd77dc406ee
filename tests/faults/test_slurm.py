"""`cluster/slurm.sbatch` on a real Slurm: launch, notice, requeue, clean end, beside others."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.ray_nodes import wait_until
from tests.cluster.slurm_daemons import Slurm, missing_programs

pytestmark = pytest.mark.skipif(
    bool(missing_programs()),
    reason=f"no Slurm here: {', '.join(missing_programs())} (Debian: slurm-wlm munge)",
)


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

        # A job that lives on the same nodes while the first one starts again and ends.
        beside = submit(slurm, other, "--time=10")
        wait_for_starts(other, 1)
        slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")  # else after two minutes
        slurm.wait_for(job, "COMPLETED", limit_s=240)
        assert [row["resumed"] for row in starts(long)] == [False, True]
        assert starts(long)[1]["restarts"] > first["restarts"]
        assert starts(long)[1]["nodes"] == 2
        assert slurm.processes(job) == [] and not Path(f"/tmp/ray-{job}").exists()

        # A stop that is asked for is no reason to run again.
        assert slurm.processes(beside)
        slurm.run("scancel", "--batch", "--signal=TERM", beside)
        slurm.wait_for(beside, "FAILED", limit_s=60)
        assert json.loads((other / "checkpoint").read_text()) == {"signal": "SIGTERM", "nodes": 2}
        assert "ExitCode=143:0" in slurm.run("scontrol", "show", "job", beside)
        assert slurm.processes(beside) == [] and not Path(f"/tmp/ray-{beside}").exists()
