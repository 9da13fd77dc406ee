"""`jobs.build` on what ships, offline: what it writes `jobs.prepare` and `load_dataset` take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from datasets_src.config import DataConfig
from datasets_src.pipeline import prepare
from tests.servers.hub_server import HubServer
from trainers.models.pocket.tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
# Recipe: its dataset's name, its rows, the task that takes them and that task's options.
RECIPES = {
    "doi": ("boletin_doi", 70, "doi", {"answer_from": "context"}),
    "sqac": ("lecturas_sqac", 48, "questions", {}),
    "wikipedia": ("lecturas_wikipedia", 56, "questions", {}),
    "impulse": ("consultas_impulse", 90, "query_json", {}),
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("model")
    train_tokenizer(model, ["¿Dónde nació? En Soto, en 1931."] * 3, vocab_size=300)
    (model / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return model


def run(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "jobs.build", *args]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_shipped_recipe_becomes_prepared_rows(
    recipe: str, ray_local: None, model_dir: Path, tmp_path: Path
) -> None:
    name, num_rows, task, options = RECIPES[recipe]
    done = run(f"jobs/recipes/{recipe}.yaml", f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"{num_rows} rows" in done.stdout
    file = str(tmp_path / name / "data/train.parquet")
    data = DataConfig(
        task=task, train_file=file, max_length=4096, max_bad_rows=0.0, task_options=options
    )
    prepared = prepare(data, model_dir=model_dir, output_dir=tmp_path / "runs")
    report = json.loads((prepared.directory / "data.json").read_text("utf-8"))
    assert sum(report["num_rows"].values()) == num_rows
    assert report["num_rows"]["validation"] > 0


def test_the_hub_s_loader_reads_a_dataset_by_its_card(tmp_path: Path) -> None:
    assert run("jobs/recipes/sqac.yaml", f"output_dir={tmp_path / 'out'}").returncode == 0
    loaded = load_dataset(str(tmp_path / "out/lecturas_sqac"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 48
    assert loaded["train"][0]["passage"].startswith("Biografía")


def test_sqac_is_read_from_the_hub(tmp_path: Path) -> None:
    server = HubServer(tmp_path / "hub")
    server.hub.store.create("datasets/tester/sqac", private=False)
    data = (ROOT / "datasets_src/shipped/lecturas/sqac.json").read_bytes()
    tree = {"train.json": server.hub.store.put(data)}
    server.hub.store.commit("datasets/tester/sqac", "main", tree, title="data")
    recipe = ("jobs/recipes/sqac.yaml", f"output_dir={tmp_path}", "files=[]")
    of_hub = (*recipe, "hub_dataset=tester/sqac", "hub_files=[train.json]")
    environment = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home")}
    done = run(*of_hub, **environment, HF_HUB_DISABLE_XET="1", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    assert "48 rows, 48 groups" in done.stdout
    missing = run(*of_hub[:-1], "hub_files=[dev.json]", **environment, HF_TOKEN="")
    server.close()
    assert missing.returncode == 2
    [line] = missing.stderr.splitlines()
    assert line.startswith("error: options.hub_files: dev.json of the dataset tester/sqac cannot")


def test_faults_are_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run("jobs/recipes/doi.yaml", f"output_dir={tmp_path}", "papers=[nowhere.xml]")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: options.papers: nowhere.xml: no such file; give XML")
