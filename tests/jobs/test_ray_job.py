"""`ray job submit --working-dir .` against a head with token authentication."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.servers.ray_head import Head, ray_head

ROOT = Path(__file__).resolve().parents[2]
UPLOAD_LIMIT_BYTES = 10 * 2**20
AGENT_LIMIT_S = 60


def submit(head: Head, *entrypoint: str) -> subprocess.CompletedProcess[str]:
    """`ray job submit`, again while the head's job agent is still starting."""
    deadline = time.monotonic() + AGENT_LIMIT_S
    where = ("--address", head.address, "--working-dir", ".")
    while True:
        done = head.run("job", "submit", *where, "--", *entrypoint, cwd=ROOT, timeout_s=240)
        if "No available agent" not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(2)


def test_a_job_trains_on_a_head_with_a_token(tmp_path: Path, pocket: Path) -> None:
    with ray_head(tmp_path, num_cpus=2) as head:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=10)
        assert refused.value.code == 401, "the head is open to everyone"
        done = submit(
            head,
            *("python", "-m", "jobs.finetune", "jobs/configs/quickstart.yaml"),
            *(f"output_dir={tmp_path}/runs", "run_name=job", "max_steps=3", "max_new_tokens=4"),
            *("eval_batch_size=64", "eval_on_start=false", "export_best=false"),
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        packages = list(head.temp_dir.rglob("_ray_pkg_*.zip")) + [
            p for p in head.temp_dir.rglob("_ray_pkg_*") if p.is_dir()
        ]
        unpacked = [p for package in packages for p in package.rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in unpacked)
        assert 0 < size < UPLOAD_LIMIT_BYTES, size
        assert not [p for p in unpacked if ".venv" in p.parts or ".git" in p.parts]
    record = json.loads((tmp_path / "runs/job/run.json").read_text())
    assert (record["status"], record["exit_code"], record["num_workers"]) == ("finished", 0, 2)
    assert record["total_steps"] == 3
    assert (tmp_path / "runs/job/report.html").stat().st_size > 1000
