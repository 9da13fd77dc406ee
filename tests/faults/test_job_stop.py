"""`ray job stop` on a real head: SIGTERM to the driver, SIGKILL three seconds later."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.faults.harness import (
    LIMIT_S,
    ROOT,
    STEPS,
    Held,
    Runs,
    held,
    marked,
    named,
    wait_until_gone,
)
from tests.ray_head import Head, ray_head
from trainers.checkpoints import damage, list_checkpoints
from trainers.run_dir import read_json, read_jsonl

Tell = Callable[[Held], None]
JOB = "stopped-job"
AGENT_LIMIT_S = 60
# The command itself takes seconds to start; the run must not be over by then.
SLOWLY = "before_step:rank=1:always:sleep=0.7"


def test_ray_job_stop(runs: Runs, tell: Tell, tmp_path: Path) -> None:
    run_dir = runs.run_dir(JOB)
    with ray_head(tmp_path, num_cpus=2) as head:
        submit(head, runs, mark=tmp_path)
        wait_for_step(head, run_dir, 7)
        assert len(of_job(tmp_path)) >= 3, "a driver and two workers"
        job(head, "stop", JOB)
        wait_until_gone(lambda: of_job(tmp_path), limit_s=15)
        said = job(head, "logs", JOB)
    last = last_step(run_dir)
    assert 7 <= last < STEPS, said
    newest = list_checkpoints(run_dir / "checkpoints")[0]
    assert (newest.step, damage(newest.path)) == (last, None), "what was trained was not saved"
    record = read_json(run_dir / "run.json")
    assert (record["status"], record["exit_code"]) == ("stopped", 143), said
    runs.finish(JOB)
    cost = held(runs, JOB, kills=0)
    assert (cost.redone, cost.attempts) == (0, 2)
    tell(cost)


def submit(head: Head, runs: Runs, *, mark: Path) -> None:
    """Send the run to the head, again while its job agent is still starting."""
    variables = {
        "GALLIPATO_FAILPOINTS": SLOWLY,
        "GALLIPATO_FAILPOINTS_DIR": str(mark),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    options = (
        *("submit", "--address", head.address, "--no-wait", "--submission-id", JOB),
        *("--working-dir", ".", "--runtime-env-json", json.dumps({"env_vars": variables})),
    )
    verb = ("python", "-m", "jobs.finetune", str(runs.output_dir / "config.yaml"))
    deadline = time.monotonic() + AGENT_LIMIT_S
    while True:
        done = head.run(
            "job", *options, "--", *verb, f"run_name={JOB}", cwd=ROOT, timeout_s=LIMIT_S
        )
        if done.returncode == 0:
            return
        late = time.monotonic() > deadline
        assert "No available agent" in done.stderr and not late, done.stderr[-2000:]
        time.sleep(2)


def job(head: Head, verb: str, name: str) -> str:
    """Run `ray job VERB`; what it prints."""
    done = head.run("job", verb, "--address", head.address, name, cwd=ROOT, timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_job(mark: Path) -> list[psutil.Process]:
    """The job's processes. Ray Train starts one besides that is the cluster's: detached, without
    CPUs, and taken over by the next job."""
    return [p for p in marked(mark) if not named(p, "_AutoscalingCoordinatorActor")]


def wait_for_step(head: Head, run_dir: Path, step: int) -> None:
    """Until `step` is in the metrics."""
    deadline = time.monotonic() + LIMIT_S
    while last_step(run_dir) < step:
        assert time.monotonic() < deadline, job(head, "logs", JOB)[-5000:]
        time.sleep(0.1)


def last_step(run_dir: Path) -> int:
    """The newest step in the metrics, 0 before the first."""
    return max((row["step"] for row in read_jsonl(run_dir / "metrics.jsonl")), default=0)
