"""A real llama.cpp server as teacher, what it makes through prepare, and a push to the Hub."""

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download

from datasets_src.errors import UserError
from datasets_src.pipeline import prepare
from datasets_src.recipes.build import REPLIES
from jobs.build import main
from tests.servers.hub_server import HubServer
from trainers.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]
FAUNA = "jobs/recipes/fauna.yaml"


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_pocket_model_teaches_and_its_rows_are_prepared(
    tmp_path: Path, pocket: Path, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["jobs/recipes/sql_pocket.yaml", f"output_dir={tmp_path}", "max_questions=60"]
    assert main(command) == 0
    built = tmp_path / "sql_pocket"
    record = json.loads((built / "build.json").read_text(encoding="utf-8"))
    assert record["teacher"]["model"].startswith("gguf:")
    assert record["teacher"]["num_answers"] == 60
    assert sum(record["num_rows"].values()) + sum(d["num"] for d in record["dropped"]) == 60
    assert record["num_rows"]["train"] > 20
    replies = tmp_path / REPLIES / "sql_pocket.jsonl"
    before, card = replies.read_bytes(), (built / "README.md").read_bytes()
    (built / "build.json").unlink()
    assert main(command) == 0, "another server, on another port"
    assert replies.read_bytes() == before, "asked nothing"
    assert (built / "README.md").read_bytes() == card
    config, _ = load_config(
        ROOT / "jobs/configs/quickstart.yaml",
        [
            f"train_file={built}/data/train.parquet",
            f"validation_file={built}/data/validation.parquet",
        ],
    )
    prepared = prepare(config.data, model_dir=pocket, output_dir=tmp_path / "runs")
    report = json.loads((prepared.directory / "data.json").read_text(encoding="utf-8"))
    assert report["num_rows"] == record["num_rows"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    server = HubServer(tmp_path / "hub")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    return server


def test_a_dataset_is_pushed_once_and_after_a_failure_again(
    tmp_path: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [FAUNA, f"output_dir={tmp_path}", "hub_dataset_id=tester/fauna"]
    hub.fail(r"POST .*/commit/", status=400, times=1)
    assert main(command) == 1
    assert "failed" in capsys.readouterr().out
    assert main(command) == 0
    assert "pushed     dataset    tester/fauna main" in capsys.readouterr().out
    assert main(command) == 0
    assert "unchanged  dataset    tester/fauna main" in capsys.readouterr().out
    api = HfApi(endpoint=hub.endpoint, token="hf_write")
    found = set(api.list_repo_files("tester/fauna", repo_type="dataset"))
    parts = {f"data/{name}.parquet" for name in ("train", "validation", "unfilled")}
    assert found == {".gitattributes", "README.md", "build.json", *parts}
    for name in ("README.md", "data/train.parquet"):
        path = hf_hub_download(
            "tester/fauna",
            name,
            repo_type="dataset",
            endpoint=hub.endpoint,
            token="hf_write",
            cache_dir=tmp_path / "cache",
        )
        assert Path(path).read_bytes() == (tmp_path / "fauna" / name).read_bytes()


def test_a_hub_that_refuses_is_told_before_the_first_row(tmp_path: Path, hub: HubServer) -> None:
    with pytest.raises(UserError, match="owner 'other' is neither the token's user"):
        main([FAUNA, f"output_dir={tmp_path}", "hub_dataset_id=other/fauna"])
    assert not (tmp_path / ".replies").exists()
