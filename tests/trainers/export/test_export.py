"""export_best on a run directory made by hand: the files, the pushes, the reuse, the refusals."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from datasets_src.errors import UserError
from datasets_src.prepared.store import SplitWriter
from jobs.export import main
from tests.servers.hub_server import HubServer
from tests.trainers.export.tiny_export import (
    ROWS,
    alone,
    build_adapter,
    build_base,
    dialogues,
    swap_once,
    teach,
)
from trainers.config.load import dump_config
from trainers.config.schema import Config, ExportConfig
from trainers.export.export import export_best, find_best
from trainers.export.gates import GateFailed
from trainers.hub.outbox import items
from trainers.models.load import load_base
from trainers.storage.checkpoints import save_checkpoint
from trainers.storage.json_files import append_jsonl, read_json, write_json
from trainers.storage.manifest import MANIFEST, seal


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture(scope="module")
def base(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = build_base(tmp_path_factory.mktemp("export") / "base")
    model = load_base(base, torch.float32).requires_grad_(True)
    teach(model, base, steps=100, learning_rate=5e-3)
    model.save_pretrained(base)
    (base / "README.md").write_text("the base's card")
    return base


REST = {"input": "", "field_order": "authors"}


def make_run(folder: Path, base: Path, **sections: object) -> tuple[Path, Config]:
    """A run with three scored checkpoints (the second and third equal) and its prepared rows."""
    run_dir, prepared = folder / "runs" / "demo", folder / "prepared"
    prepared.mkdir()
    rows = dialogues(base)
    table = {
        "id": [str(i) for i in range(len(rows))],
        "group": [str(i) for i in range(len(rows))],
        "length": [len(ids) for ids, _ in rows],
        "prompt_len": [num_prompt for _, num_prompt in rows],
        "input_ids": [ids for ids, _ in rows],
        "example": [
            json.dumps({"inputs": REST | {"instruction": question}, "absent": [], "target": sql})
            for question, sql in ROWS
        ],
    }
    writer = SplitWriter(prepared / "validation.parquet", {})
    writer.write(pa.table(table))
    writer.close()
    for step, value in ((4, 0.2), (8, 0.6), (12, 0.6)):

        def write(folder: Path, steps: int = step) -> None:
            build_adapter(base, folder, steps=steps)

        save(run_dir, step, write)
        add_score(run_dir, f"step-{step:06d}", step, value)
    add_score(run_dir, "base", None, 0.9)
    raw: dict[str, Any] = {"run_name": "demo", "output_dir": str(folder / "runs")}
    raw |= {"data": {"train_file": "x", "task": "instructions"}}
    config = Config.model_validate(raw | {"eval": {"max_new_tokens": 30}} | sections)
    (run_dir / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    write_json(run_dir / "run.json", {"model_dir": str(base), "prepared_dir": str(prepared)})
    return run_dir, config


def save(run_dir: Path, step: int, write: Callable[[Path], None], attempt: str = "aaaaaa") -> Path:
    store = run_dir / "checkpoints"
    saved = save_checkpoint(store, step=step, attempt=attempt, write=write)
    path = str(saved.path.relative_to(run_dir))
    append_jsonl(run_dir / "checkpoints.jsonl", {"step": step, "path": path})
    return saved.path


def add_score(run_dir: Path, name: str, step: int | None, value: float) -> None:
    row: dict[str, Any] = {"name": name, "step": step, "n": 12, "metric": "exact_match"}
    row |= {"metrics": {"exact_match": value}, "intervals": {"exact_match": [0, 1]}}
    row |= {"predictions": f"predictions/{name}.jsonl", "seconds": 1.0}
    append_jsonl(run_dir / "scores.jsonl", row)


def exported(run_dir: Path) -> list[str]:
    folder = run_dir / "export"
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_whole_export(
    tmp_path: Path, base: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, config = make_run(tmp_path, base, hub={"push": "best", "hub_model_id": "tester/demo"})
    output: list[str] = []
    artifact = export_best(
        run_dir,
        config=config,
        model_dir=base,
        prepared_dir=tmp_path / "prepared",
        say=output.append,
    )
    # The earliest of the two best; the base's higher score is no checkpoint's.
    assert artifact["checkpoint"] == "step-000008" and artifact == read_json(
        run_dir / "artifact.json"
    )
    assert [gate["name"] for gate in artifact["gates"]] == [
        "merged logits",
        *("token ids", "served prompts", "stop", "f16 replies", "f16 log-probabilities"),
        *("token ids", "served prompts", "stop", "q8_0 replies", "q8_0 log-probabilities"),
    ]
    assert all(gate["passed"] for gate in artifact["gates"])
    assert artifact["gates"][4]["detail"].startswith("12/12 equal")
    names = exported(run_dir)
    assert names[:2] == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    assert names[2:4] == ["demo-f16.gguf", "demo-q8_0.gguf"]
    merged = load_file(run_dir / "export" / "merged" / "model.safetensors")
    assert len(merged) == artifact["merged"]["num_tensors"] == 20
    # The adapter is pushed before the line that reports the merge, then the rest.
    pushed = [item for item in items(run_dir) if item.state == "done"]
    assert [(item.kind, item.repo_id) for item in pushed] == [
        ("adapter", "tester/demo"),
        ("merged", "tester/demo-merged"),
        ("gguf", "tester/demo-GGUF"),
    ]
    first_push = next(i for i, line in enumerate(output) if line.startswith("push"))
    assert first_push < next(i for i, line in enumerate(output) if line.startswith("merged"))
    assert {file.path for file in pushed[2].files} == {
        *("README.md", "demo-f16.gguf", "demo-q8_0.gguf")
    }
    reused(run_dir, capsys)


def reused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run again, the verb repeats nothing, and notices a file that was changed."""
    gguf = run_dir / "export" / "demo-q8_0.gguf"
    made_at, num_pushes = gguf.stat().st_mtime_ns, len(list(items(run_dir)))
    capsys.readouterr()
    assert main([str(run_dir)]) == 0
    assert "exported already" in capsys.readouterr().out
    assert gguf.stat().st_mtime_ns == made_at and len(list(items(run_dir))) == num_pushes
    with gguf.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    merged_at = (run_dir / "export" / "merged" / "model.safetensors").stat().st_mtime_ns
    assert main([str(run_dir), "push=none"]) == 0
    output = capsys.readouterr().out
    assert "converted demo-q8_0.gguf" in output and "converted demo-f16.gguf" not in output
    assert (run_dir / "export" / "merged" / "model.safetensors").stat().st_mtime_ns == merged_at
    assert main([str(run_dir), "gguf_types=[]", "push=none"]) == 0
    # As asked, without GGUF files: the old ones are gone.
    assert not gguf.exists() and read_json(run_dir / "artifact.json")["gguf"] == []


def test_a_failed_gate_costs_nothing_that_passed(tmp_path: Path, base: Path) -> None:
    """A base whose two tokenizer files disagree: the converter reads one, training the other."""
    wrong = tmp_path / "base"
    shutil.copytree(base, wrong)
    # A piece is a protobuf field of its own: tag 10, its length, its bytes.
    a, e = b"\x0a\x02" + "á".encode(), b"\x0a\x02" + "é".encode()
    model = (wrong / "tokenizer.model").read_bytes()
    (wrong / "tokenizer.model").write_bytes(swap_once(model, a, e))
    run_dir, config = make_run(tmp_path, wrong, export={"gguf_types": ["q8_0"]})
    (run_dir / "export" / "merged").mkdir(parents=True)
    (run_dir / "export" / "demo-f16.gguf").write_bytes(b"of an earlier export")

    def export(config: Config) -> list[str]:
        output: list[str] = []
        places: dict[str, Any] = {"model_dir": wrong, "prepared_dir": tmp_path / "prepared"}
        places["say"] = output.append
        rejected = r"demo-q8_0.gguf is rejected by the gate token ids: .* differs at token"
        if config.export.gates == "warn":
            export_best(run_dir, config=config, **places)
        else:
            with pytest.raises(GateFailed, match=rejected) as error:
                export_best(run_dir, config=config, **places)
            assert error.value.exit_code == 3
        return output

    first = export(config)
    assert sum("FAILED  token ids" in line for line in first) == 1
    kept = exported(run_dir)
    assert "adapter/adapter_model.safetensors" in kept and "merged/model.safetensors" in kept
    assert not any(name.endswith(".gguf") for name in kept)
    artifact = read_json(run_dir / "artifact.json")
    assert artifact["failed"] == ["q8_0"] and artifact["gguf"] == []
    assert [g["part"] for g in artifact["gates"] if not g["passed"]] == ["q8_0"] * 2
    # Again: only the rejected file is made.
    assert not any(line.startswith("merged") for line in export(config))
    warned = config.model_copy(update={"export": ExportConfig(gguf_types=("q8_0",), gates="warn")})
    export(warned)
    assert "demo-q8_0.gguf" in exported(run_dir)
    assert read_json(run_dir / "artifact.json")["failed"] == ["q8_0"]
    assert "exported already" in export(warned)[0]


def test_export_without_a_scored_checkpoint_is_refused(tmp_path: Path, base: Path) -> None:
    run_dir, _ = make_run(tmp_path, base)
    (run_dir / "scores.jsonl").unlink()
    add_score(run_dir, "base", None, 0.4)
    with pytest.raises(UserError, match="no scored checkpoint"):
        main([str(run_dir)])
    with pytest.raises(UserError, match="not a run directory"):
        main([str(tmp_path)])


def test_best_checkpoint_that_is_gone_is_named(tmp_path: Path, base: Path) -> None:
    run_dir, _ = make_run(tmp_path, base)
    best, path = find_best(run_dir)
    assert best.name == "step-000008" and path.name == "step-000008.aaaaaa"

    def copy(folder: Path) -> None:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(path / name, folder / name)

    # The same step saved again by a later attempt: its line comes last and counts.
    later = save(run_dir, 8, copy, attempt="bbbbbb")
    assert find_best(run_dir)[1] == later
    (later / "adapter_model.safetensors").write_bytes(b"torn")
    assert find_best(run_dir)[1] == path
    shutil.rmtree(path)
    gone = r"step-000008 .* is not there whole any more \(step-000008.bbbbbb: adapter_model"
    with pytest.raises(UserError, match=gone):
        find_best(run_dir)


def test_adapter_that_is_not_finite_stops_before_any_file(tmp_path: Path, base: Path) -> None:
    run_dir, config = make_run(tmp_path, base)
    file = run_dir / "checkpoints" / "step-000008.aaaaaa" / "adapter_model.safetensors"
    save_file({name: t * float("inf") for name, t in load_file(file).items()}, file)
    (file.parent / MANIFEST).unlink()
    seal(file.parent, step=8, attempt="aaaaaa")
    with pytest.raises(UserError, match="not finite"):
        export_best(run_dir, config=config, model_dir=base, prepared_dir=tmp_path / "prepared")
    assert [path.name for path in (run_dir / "export").iterdir()] == ["adapter"]
