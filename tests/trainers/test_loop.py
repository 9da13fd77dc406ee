"""The loop on a real model and real rows: it learns, resumes to the same bytes, runs on Ray."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from datasets_src.errors import UserError
from datasets_src.pipeline import prepare
from tests.servers.hub_server import HubServer
from tests.trainers.small_run import config_for
from trainers.config.schema import Config, HubConfig
from trainers.driver import fit
from trainers.evaluation.scoring_pool import ScoringPool
from trainers.hub.client import check_hub
from trainers.hub.push import SavePusher
from trainers.loop import run
from trainers.run.state import RunState
from trainers.storage.checkpoints import list_checkpoints, step_name
from trainers.storage.json_files import read_jsonl, write_text
from trainers.supervision import ray_internals
from trainers.train_state import WorkerSpec


@pytest.fixture(scope="module")
def prepared(
    small_rows: Path, pocket: Path, ray_local: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output_dir = tmp_path_factory.mktemp("prepared")
    data = config_for(output_dir, small_rows).data
    return prepare(data, model_dir=pocket, output_dir=output_dir).directory


@pytest.fixture(scope="module")
def finished(prepared: Path, small_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an undisturbed run of one worker, without Ray."""
    config = config_for(tmp_path_factory.mktemp("runs"), small_rows)
    run_dir = Path(config.output_dir) / config.run_name
    run(one_worker(config, run_dir, prepared))
    return run_dir


def one_worker(config: Config, run_dir: Path, prepared: Path, attempt: str = "one") -> WorkerSpec:
    return WorkerSpec(config, run_dir, prepared, attempt, rank=0, world_size=1, num_threads=2)


def adapter_bytes(run_dir: Path, step: int) -> bytes:
    [newest] = [c for c in list_checkpoints(run_dir / "checkpoints") if c.step == step]
    return (newest.path / "adapter_model.safetensors").read_bytes()


def losses(run_dir: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(run_dir / "metrics.jsonl")]


def test_a_run_learns_and_records_one_line_a_step(finished: Path) -> None:
    metrics = list(read_jsonl(finished / "metrics.jsonl"))
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert [row["num_examples"] for row in metrics] == [8] * 8
    first, second = losses(finished)[:4], losses(finished)[4:]
    assert sum(second) < 0.9 * sum(first)
    names = [row["name"] for row in read_jsonl(finished / "scores.jsonl")]
    baselines = ["base", "few_shot", "constant"]
    assert names == [*baselines, "step-000003", "step-000006", "step-000008"]
    for row in read_jsonl(finished / "scores.jsonl"):
        replies = list(read_jsonl(finished / row["predictions"]))
        assert row["n"] == len(replies) == 6
        assert {"question"} <= replies[0]["inputs"].keys()
        assert "schema" not in replies[0]["inputs"], "inputs that all rows share are not repeated"


@pytest.mark.parametrize("lost", [["8"], ["8", "6"], ["8", "6", "3"], ["damaged"]])
def test_a_resumed_run_ends_with_the_same_bytes(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path, lost: list[str]
) -> None:
    config = config_for(tmp_path, small_rows)
    run_dir = tmp_path / config.run_name
    shutil.copytree(finished, run_dir)
    for checkpoint in list_checkpoints(run_dir / "checkpoints"):
        if str(checkpoint.step) in lost:
            shutil.rmtree(checkpoint.path)
        elif checkpoint.step > 3 and lost == ["damaged"]:
            (checkpoint.path / "optimizer.safetensors").write_bytes(b"torn")
    run(one_worker(config, run_dir, prepared, attempt="two"))
    assert adapter_bytes(run_dir, 8) == adapter_bytes(finished, 8)
    assert losses(run_dir) == losses(finished)
    assert [row["step"] for row in read_jsonl(run_dir / "metrics.jsonl")] == list(range(1, 9))
    scores = {r["name"]: r["metrics"] for r in read_jsonl(run_dir / "scores.jsonl")}
    assert scores == {r["name"]: r["metrics"] for r in read_jsonl(finished / "scores.jsonl")}


def test_the_few_shot_baseline_is_scored_exactly_once(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path
) -> None:
    """Killed after the base was scored and before few_shot was; killed after both."""
    config = config_for(tmp_path, small_rows)
    run_dir = tmp_path / config.run_name
    shutil.copytree(finished, run_dir)
    shutil.rmtree(run_dir / "checkpoints")
    [base, *_] = (run_dir / "scores.jsonl").read_text().splitlines()
    write_text(run_dir / "scores.jsonl", base + "\n")
    few_shot = run_dir / "predictions/few_shot.jsonl"
    few_shot.unlink()
    made = (run_dir / "predictions/base.jsonl").stat().st_mtime_ns
    run(one_worker(config, run_dir, prepared, attempt="two"))
    assert (run_dir / "predictions/base.jsonl").stat().st_mtime_ns == made
    assert few_shot.read_bytes() == (finished / "predictions/few_shot.jsonl").read_bytes()
    replies = [row["reply"] for row in read_jsonl(few_shot)]
    assert replies != [row["reply"] for row in read_jsonl(run_dir / "predictions/base.jsonl")]

    made = few_shot.stat().st_mtime_ns
    shutil.rmtree(list_checkpoints(run_dir / "checkpoints")[0].path)
    run(one_worker(config, run_dir, prepared, attempt="three"))
    assert few_shot.stat().st_mtime_ns == made
    ours, theirs = (
        [r["name"] for r in read_jsonl(d / "scores.jsonl")] for d in (run_dir, finished)
    )
    assert ours == theirs and ours.count("few_shot") == 1


def test_without_examples_there_is_no_few_shot_baseline(
    prepared: Path, small_rows: Path, tmp_path: Path
) -> None:
    config = config_for(tmp_path, small_rows, max_steps=1)
    off = config.eval.model_copy(update={"num_few_shot": 0, "max_new_tokens": 2})
    run_dir = tmp_path / config.run_name
    run(one_worker(config.model_copy(update={"eval": off}), run_dir, prepared))
    names = [row["name"] for row in read_jsonl(run_dir / "scores.jsonl")]
    assert names == ["base", "constant", "step-000001"]


@pytest.mark.parametrize("series", ["2.60.", "2.99."], ids=["private_api", "public_api"])
def test_two_ray_workers_take_the_same_steps_as_one(
    finished: Path,
    prepared: Path,
    small_rows: Path,
    tmp_path: Path,
    ray_local: None,
    monkeypatch: pytest.MonkeyPatch,
    series: str,
) -> None:
    """With Ray's private modules, and without them (supervision/ray_internals.py)."""
    monkeypatch.setattr(ray_internals, "TESTED_SERIES", series)
    config = config_for(tmp_path, small_rows)
    run_dir = tmp_path / config.run_name
    fit(config, prepared_dir=prepared)
    assert losses(run_dir) == pytest.approx(losses(finished), rel=1e-5)
    ours, theirs = (
        [
            list(read_jsonl(d / f"predictions/{n}.jsonl"))
            for n in ("base", "few_shot", "step-000003")
        ]
        for d in (run_dir, finished)
    )
    assert ours == theirs, "replies depend on the number of workers"


def with_scoring_actor(config: Config) -> Config:
    """The same with one worker and one scoring actor, of a core each."""
    scaling = config.scaling.model_copy(update={"num_workers": 1, "cpus_per_worker": 1})
    scored = config.eval.model_copy(update={"num_eval_workers": 1})
    return config.model_copy(update={"scaling": scaling, "eval": scored})


def replies(run_dir: Path) -> dict[str, list[dict[str, object]]]:
    return {p.stem: list(read_jsonl(p)) for p in sorted((run_dir / "predictions").iterdir())}


def test_scores_of_actors_are_those_of_the_workers(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path, ray_local: None
) -> None:
    fit(with_scoring_actor(config_for(tmp_path, small_rows)), prepared_dir=prepared)
    assert replies(tmp_path / "small") == replies(finished)
    ours, theirs = (list(read_jsonl(d / "scores.jsonl")) for d in (tmp_path / "small", finished))
    assert [row["name"] for row in ours] == [row["name"] for row in theirs]
    assert [row["metrics"] for row in ours] == [row["metrics"] for row in theirs]


def test_a_killed_actors_checkpoint_is_scored_by_another(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path, ray_local: None
) -> None:
    run_dir = shutil.copytree(finished, tmp_path / "small")
    (run_dir / "scores.jsonl").unlink()
    shutil.rmtree(run_dir / "predictions")
    config = with_scoring_actor(config_for(tmp_path, small_rows))
    with ScoringPool(config, run_dir=run_dir, prepared_dir=prepared) as scoring:
        scoring.start(1)
        scoring.poll()
        for _ in range(3000):
            actors = [p for p in psutil.process_iter() if "ray::ScoringAct" in p.name()]
            if actors and os.sched_getscheduler(actors[0].pid) == os.SCHED_IDLE:
                break
            time.sleep(0.1)
        else:
            pytest.fail("no scoring actor is in the idle scheduling class")
        actors[0].kill()
        scoring.finish()
    assert replies(run_dir) == replies(finished)
    assert {row["name"] for row in read_jsonl(run_dir / "scores.jsonl")} == replies(finished).keys()


def test_a_damaged_save_has_no_score_unless_another_attempt_wrote_it_too(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path, ray_local: None
) -> None:
    run_dir = shutil.copytree(finished, tmp_path / "small")
    twice, *_, lost = list_checkpoints(run_dir / "checkpoints")
    newer = run_dir / "checkpoints" / f"{step_name(twice.step)}.ffffff"
    for path in (shutil.copytree(twice.path, newer), lost.path):
        (path / "adapter_model.safetensors").write_bytes(b"torn")
    os.utime(newer)
    (run_dir / "scores.jsonl").unlink()
    config = with_scoring_actor(config_for(tmp_path, small_rows))
    lines: list[str] = []
    with ScoringPool(config, run_dir=run_dir, prepared_dir=prepared, log=lines.append) as scoring:
        scoring.start(1)
        scoring.finish()
    assert [line.split()[1] for line in lines] == [str(lost.path), str(newer)]
    names = {row["name"] for row in read_jsonl(run_dir / "scores.jsonl")}
    assert names == replies(finished).keys() - {step_name(lost.step)}


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_two_ray_workers_under_zero_take_the_same_steps(
    finished: Path, prepared: Path, small_rows: Path, tmp_path: Path, ray_local: None
) -> None:
    """Stage 3 on two workers, the last checkpoint lost, its steps taken again by one of stage 2."""
    config = config_for(tmp_path, small_rows)
    run_dir = tmp_path / config.run_name
    parts = config.scaling.model_copy(update={"zero_stage": 3})
    fit(
        config.model_copy(update={"scaling": parts}),
        prepared_dir=prepared,
    )
    assert losses(run_dir) == pytest.approx(losses(finished), rel=1e-5)
    shutil.rmtree(list_checkpoints(run_dir / "checkpoints")[0].path)
    alone = config.scaling.model_copy(update={"zero_stage": 2, "num_workers": 1})
    fit(
        config.model_copy(update={"scaling": alone}),
        prepared_dir=prepared,
    )
    assert losses(run_dir) == pytest.approx(losses(finished), rel=1e-5)
    assert len({row["attempt"] for row in read_jsonl(run_dir / "metrics.jsonl")}) == 2
    ours, theirs = (
        list(read_jsonl(d / "predictions/step-000003.jsonl")) for d in (run_dir, finished)
    )
    assert ours == theirs


def test_every_scored_save_is_pushed_to_a_branch_of_its_step(
    prepared: Path, small_rows: Path, tmp_path: Path, hub: HubServer, pocket: Path
) -> None:
    pushed = {"push": "every_save", "hub_model_id": "tester/small"}
    config = config_for(tmp_path, small_rows).model_copy(
        update={"hub": HubConfig.model_validate(pushed)}
    )
    check_hub(config.hub, kinds=("adapter",))
    with RunState.open(config, data_hash="d" * 64, model_dir=pocket) as state:
        shutil.copyfile(prepared / "data.json", state.run_dir / "data.json")
        with SavePusher(state.home, config=config):
            run(one_worker(config, state.run_dir, prepared))
    repo = hub.store.repos["tester/small"]
    for step in (3, 6, 8):
        _, tree = hub.store.at(repo, f"step-{step:06d}")
        ours = hashlib.sha256(adapter_bytes(state.run_dir, step)).hexdigest()
        assert tree["adapter_model.safetensors"]["sha256"] == ours
        assert {"adapter_config.json", "README.md"} <= tree.keys()


def test_a_user_error_in_a_worker_is_not_retried(
    prepared: Path, small_rows: Path, tmp_path: Path, ray_local: None
) -> None:
    config = config_for(tmp_path, small_rows, max_tokens_per_micro_batch=8)
    with pytest.raises(UserError, match=r"longest row has \d+ tokens; set max_tokens_per_micro_b"):
        fit(config, prepared_dir=prepared)
    wide = config.model_copy(
        update={
            "train": config_for(tmp_path, small_rows).train,
            "scaling": config.scaling.model_copy(update={"num_workers": 3}),
        }
    )
    with pytest.raises(
        UserError, match=r"3 workers .*3 CPUs requested, 2 in the cl.*lower num_workers"
    ):
        fit(wide, prepared_dir=prepared)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
