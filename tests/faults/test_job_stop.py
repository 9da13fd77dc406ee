"""`ray job stop` on a real head: SIGTERM to the driver, SIGKILL three seconds later."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.faults.harness import (
    LIMIT_S,
    ROOT,
    SAVE_STEPS,
    STEPS,
    Cost,
    Runs,
    marked,
    named,
    verify_recovery,
    wait_until_gone,
)
from tests.servers.ray_head import Head, ray_head
from trainers.storage.checkpoints import damage, list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl

RecordCost = Callable[[Cost], None]
AGENT_LIMIT_S = 60
# The command itself takes seconds to start; the run must not be over by then.
SHORT_STEPS = "before_step:rank=1:always:sleep=0.7"
LONG_STEP = "before_step:step=8:rank=1:sleep=20"
# As docs/cluster.md advises.
WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}


@dataclass(frozen=True)
class Case:
    """A job, its steps, its environment variables, and whether these leave time to save."""

    name: str
    steps: str
    variables: Mapping[str, str]
    saves: bool


CASES = [
    Case("short-steps", SHORT_STEPS, {}, True),
    Case("long-step", LONG_STEP, {}, False),
    Case("long-step-and-time", LONG_STEP, WAIT, True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace("-", " "))
def test_ray_job_stop(runs: Runs, record_cost: RecordCost, tmp_path: Path, case: Case) -> None:
    run_dir = runs.run_dir(case.name)
    with ray_head(tmp_path, num_cpus=2) as head:
        submit(head, runs, case, mark=tmp_path)
        wait_for_step(head, case, run_dir)
        assert len(of_job(tmp_path)) >= 3, "a driver and two workers"
        job(head, "stop", case)
        wait_until_gone(lambda: of_job(tmp_path), limit_s=15)
        output = job(head, "logs", case)
    last = max(row["step"] for row in read_jsonl(run_dir / "metrics.jsonl"))
    assert 7 <= last < STEPS, output
    newest = list_checkpoints(run_dir / "checkpoints")[0]
    assert damage(newest.path) is None
    record = read_json(run_dir / "run.json")
    if case.saves:
        assert newest.step == last, "what was trained was not saved"
        assert (record["status"], record["exit_code"]) == ("stopped", 143), output
    else:
        assert (newest.step, record["status"]) == (SAVE_STEPS, "running")
    runs.finish(case.name)
    cost = verify_recovery(runs, case.name, kills=int(not case.saves))
    assert (cost.redone, cost.attempts) == (last - newest.step, 2)
    record_cost(cost)


def submit(head: Head, runs: Runs, case: Case, *, mark: Path) -> None:
    """Submit the run, with retries while the head's job agent is starting."""
    variables = {
        "GALLIPATO_FAILPOINTS": case.steps,
        "GALLIPATO_FAILPOINTS_DIR": str(mark),
        "OMP_WAIT_POLICY": "PASSIVE",
        **case.variables,
    }
    options = (
        *("submit", "--address", head.address, "--no-wait", "--submission-id", case.name),
        *("--working-dir", ".", "--runtime-env-json", json.dumps({"env_vars": variables})),
    )
    config = runs.output_dir / "config.yaml"
    verb = ("python", "-m", "jobs.finetune", str(config), f"run_name={case.name}")
    deadline = time.monotonic() + AGENT_LIMIT_S
    while True:
        done = head.run("job", *options, "--", *verb, cwd=ROOT, timeout_s=LIMIT_S)
        if done.returncode == 0:
            return
        late = time.monotonic() > deadline
        assert "No available agent" in done.stderr and not late, done.stderr[-2000:]
        time.sleep(2)


def job(head: Head, verb: str, case: Case) -> str:
    """Run `ray job VERB`; returns its output."""
    done = head.run("job", verb, "--address", head.address, case.name, cwd=ROOT, timeout_s=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_job(mark: Path) -> list[psutil.Process]:
    """The job's processes. Ray Train also starts one that belongs to the cluster: detached, without
    CPUs, and taken over by the next job."""
    return [p for p in marked(mark) if not named(p, "_AutoscalingCoordinatorActor")]


def wait_for_step(head: Head, case: Case, run_dir: Path) -> None:
    """Wait until step 7 is in the metrics, in the middle of a save interval."""
    deadline = time.monotonic() + LIMIT_S
    while all(row["step"] < 7 for row in read_jsonl(run_dir / "metrics.jsonl")):
        assert time.monotonic() < deadline, job(head, "logs", case)[-5000:]
        time.sleep(0.1)
