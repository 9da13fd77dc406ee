"""A real sweep on a local Ray: a shared trunk, branches, a page, a reproducible winner."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from datasets_src.errors import UserError
from jobs.sweep import run_sweep
from trainers.config.load import load_config
from trainers.driver import fit
from trainers.storage.checkpoints import list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl
from tune.config import load_sweep
from tune.trials.controller import LEDGER

ROOT = Path(__file__).resolve().parents[2]
TRAINED = ("adapter_model.safetensors", "optimizer.safetensors")
SECTION = {
    "learning_rate": [3e-3, 1e-5],
    "num_train_epochs": [1, 2],
    "searcher": "grid",
    "scheduler": "asha",
    "reduction_factor": 2,
    "metric": "valid_sql",
}


def config_file(folder: Path, section: dict[str, Any]) -> Path:
    """The shipped sweep on 32 of its rows; trials branch from a shared trunk to decay."""
    lines = (ROOT / "datasets_src/shipped/senderos/text2sql.jsonl").read_text().splitlines()
    train = [line for line in lines if json.loads(line)["split"] == "train"][:32]
    held = [line for line in lines if json.loads(line)["split"] != "train"][:6]
    (folder / "rows.jsonl").write_text("\n".join(train + held) + "\n")
    raw = yaml.safe_load((ROOT / "jobs/configs/sweep_text2sql.yaml").read_text())
    raw |= {"run_name": "small", "output_dir": str(folder / "runs"), "sweep": section}
    raw["data"]["train_file"] = str(folder / "rows.jsonl")
    for key in ("database", "schema_file"):
        raw["data"]["task_options"][key] = str(ROOT / raw["data"]["task_options"][key])
    raw["train"] = {
        "train_batch_size": 8,
        "lr_scheduler_type": "warmup_stable_decay",
        "decay_steps": 2,
        "warmup_steps": 1,
    }
    raw["eval"] = {"eval_batch_size": 8, "max_new_tokens": 12, "num_few_shot": 0}
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, pocket: Path, ray_local: None) -> Path:
    """The directory of a sweep that has ended."""
    folder = tmp_path_factory.mktemp("sweep")
    assert run_sweep(load_sweep(config_file(folder, SECTION))) == 0
    return folder / "runs" / "small"


def began(directory: Path) -> list[tuple[str, int]]:
    return [(r["run"], r["until"]) for r in read_jsonl(directory / LEDGER) if r["event"] == "began"]


def test_it_ends_with_a_leaderboard_and_leaves_the_cluster_free(swept: Path) -> None:
    free, total = ray.available_resources(), ray.cluster_resources()
    assert free["CPU"] == total["CPU"] and free.keys() == total.keys()
    board = read_json(swept / "leaderboard.json")
    assert sorted(row["trial"] for row in board["trials"]) == [0, 1, 2, 3]
    assert {row["state"] for row in board["trials"]} <= {"finished", "stopped"}
    assert board["baselines"].keys() == {"base", "constant"}, "scored once for all trials"
    assert board["best"]["value"] == max(row.get("value", 0) for row in board["trials"])
    page = (swept / "report.html").read_text()
    assert "the best of 4 trials" in page and "parallel coordinates" in page
    assert read_json(swept / "run.json")["status"] == "finished"


def test_a_trial_is_an_ordinary_run_of_one_trunk_and_its_branches(swept: Path) -> None:
    runs = {path.name: read_json(path / "run.json") for path in (swept / "trials").iterdir()}
    board = read_json(swept / "leaderboard.json")
    finished = {row["run"] for row in board["trials"] if row["state"] == "finished"}
    assert all(runs[run.removeprefix("trials/")]["status"] == "finished" for run in finished)
    # The trunk saves where its branches start: 2 steps before the ends of epochs 1 and 2.
    untils = sorted(until for _, until in began(swept))
    assert untils[:5] == [0, 2, 2, 4, 4] and set(untils) == {0, 2, 4, 6, 8}
    for run in finished:
        steps = [row["step"] for row in read_jsonl(swept / run / "metrics.jsonl")]
        assert steps == list(range(1, max(steps) + 1))
        trained = [
            row["step"] for path in (swept / run / "ledger").iterdir() for row in read_jsonl(path)
        ]
        assert len(trained) == 2, "a branch trains its decay only"


def test_the_same_command_again_trains_nothing(swept: Path) -> None:
    before = began(swept)
    board = read_json(swept / "leaderboard.json")
    assert run_sweep(load_sweep(swept.parents[1] / "sweep.yaml")) == 0
    assert began(swept) == before
    assert read_json(swept / "leaderboard.json") == board


def test_another_search_under_an_existing_name_is_refused(swept: Path) -> None:
    path = swept.parents[1] / "sweep.yaml"
    with pytest.raises(UserError, match=r"sweep.learning_rate: \[0.003, 1e-05\] -> \[0.1\]"):
        run_sweep(load_sweep(path, ["sweep.learning_rate=[0.1]"]))
    with pytest.raises(UserError, match=r"train.lora|method.lora_r: 16 -> 4"):
        run_sweep(load_sweep(path, ["lora_r=4"]))


def test_the_winner_is_trained_again_to_the_same_bytes(swept: Path) -> None:
    best = read_json(swept / "leaderboard.json")["best"]
    config, _ = load_config(swept / "best.yaml")
    assert config.run_name == "small-best" and config.scaling.num_workers == 1
    prepared = Path(read_json(swept / best["run"] / "run.json")["prepared_dir"])
    fit(config, prepared_dir=prepared)
    again = Path(config.output_dir) / config.run_name
    assert hashes(again, best["checkpoint"]) == hashes(swept / best["run"], best["checkpoint"])


def hashes(run_dir: Path, name: str) -> dict[str, str]:
    [path] = [c.path for c in list_checkpoints(run_dir / "checkpoints") if c.path.stem == name]
    return {n: hashlib.sha256((path / n).read_bytes()).hexdigest() for n in TRAINED}


def test_the_winner_of_a_population_is_a_config_like_any_other(
    tmp_path: Path, pocket: Path, ray_local: None
) -> None:
    """A child's run, branched from its parent, has the bytes of its config run alone."""
    section = {"learning_rate": [3e-3, 1e-5], "searcher": "grid", "scheduler": "pbt"}
    path = config_file(tmp_path, section | {"metric": "eval_loss"})
    overrides = ["num_train_epochs=3", "lr_scheduler_type=constant", "max_new_tokens=4"]
    assert run_sweep(load_sweep(path, overrides)) == 0
    directory = tmp_path / "runs/small"
    board = read_json(directory / "leaderboard.json")
    children = [row for row in board["trials"] if "train.step_rules" in row["values"]]
    child = max(children, key=lambda row: int(row["trial"]))
    assert child["state"] == "finished" and len(children) == 2
    own = [
        row["step"]
        for path in (directory / child["run"] / "ledger").iterdir()
        for row in read_jsonl(path)
    ]
    assert own == [9, 10, 11, 12], "it trains its own generation only"
    config, _ = load_config(directory / child["run"] / "config.yaml")
    alone = config.model_copy(update={"run_name": "alone", "output_dir": str(tmp_path / "runs")})
    fit(alone, prepared_dir=Path(read_json(directory / child["run"] / "run.json")["prepared_dir"]))
    last = str(child["checkpoint"])
    assert hashes(tmp_path / "runs/alone", last) == hashes(directory / child["run"], last)


def test_a_loss_is_minimised(tmp_path: Path, pocket: Path, ray_local: None) -> None:
    section = {"learning_rate": [3e-3, 1e-5], "searcher": "grid", "scheduler": "none"}
    path = config_file(tmp_path, section | {"metric": "eval_loss"})
    sweep = load_sweep(path, ["num_few_shot=1", "num_train_epochs=1"])
    assert sweep.mode == "min" and run_sweep(sweep) == 0
    board = read_json(tmp_path / "runs/small/leaderboard.json")
    values = [row["value"] for row in board["trials"]]
    assert values == sorted(values) and board["best"]["value"] == values[0] < values[1]
    assert board["best"]["values"]["train.learning_rate"] == 3e-3
    losses = {name: row["value"] for name, row in board["baselines"].items()}
    assert losses.keys() == {"base", "few_shot"}, "a constant reply has no loss"
    assert values[0] < losses["base"] and "(difference 0." in board["tests"]["base"]
    best, _ = load_config(tmp_path / "runs/small/best.yaml")
    assert best.eval.metric_for_best_model == "eval_loss" and not best.eval.chooses_greatest
