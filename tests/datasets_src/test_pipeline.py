"""The pipeline on a local Ray: rows in, Parquet out, once; a fault leaves nothing behind."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets_src.chat.tokenise import chat_tokens, open_tokenizer, read_format
from datasets_src.config import DataConfig
from datasets_src.errors import UserError
from datasets_src.examples import load_examples
from datasets_src.pipeline import Prepared, find_prepared, prepare
from datasets_src.prepared.data_report import format_report
from datasets_src.prepared.preview import preview
from datasets_src.prepared.store import open_split
from datasets_src.task import load_task

ROOT = Path(__file__).resolve().parents[2]
TASK = "tests.benchmarks.step.description_rows"
NUM_ROWS = 700


def row(number: int, **more: Any) -> dict[str, Any]:
    same = {"description": "Es una planta.", "science": "Vivaz, con rizomas.", "context": "[]"}
    target = "Nada" if number % 5 == 0 else f"Texto {number} " + "muy largo " * (number % 7)
    return {
        "prompt": f"¿Qué sé de {number}?",
        **same,
        "target": target,
        "taxon": number // 3,
        **more,
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def config(path: Path, **more: Any) -> DataConfig:
    values = {"task": TASK, "train_file": str(path), "columns": {"group": "taxon"}, **more}
    return DataConfig(**values)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    return write_rows(folder / "rows.jsonl", [row(i) for i in range(NUM_ROWS)])


@pytest.fixture(scope="module")
def made(
    ray_local: None, chat_model: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    out = tmp_path_factory.mktemp("out")
    return prepare(config(rows_file), model_dir=chat_model, output_dir=out)


def report_of(prepared: Prepared) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((prepared.directory / "data.json").read_text("utf-8"))
    return value


def test_rows_keep_their_order_tokens_and_inputs(
    made: Prepared, chat_model: Path, rows_file: Path
) -> None:
    task = load_task(TASK)
    examples: list[Any] = list(task.load(mapped(rows_file), task.Options()))
    fmt = read_format(chat_model, "chat")
    messages = [task.to_messages(example) for example in examples]
    expected = chat_tokens(fmt, open_tokenizer(fmt), messages, [e.target for e in examples])
    by_id = {e.id: (e, tokens) for e, tokens in zip(examples, expected, strict=True)}
    seen: list[str] = []
    for name in ("train", "validation"):
        split = open_split(made.directory, name)
        assert split.ids == sorted(split.ids, key=int)
        for index in range(len(split)):
            example, tokens = by_id[split.ids[index]]
            stored, row_tokens = split.example(index), split.tokens(index)
            assert (stored.inputs, stored.target) == (example.inputs, example.target)
            assert (stored.group, stored.split) == (example.group, name)
            assert row_tokens.input_ids == tuple(tokens.input_ids)
            assert row_tokens.prompt_len == tokens.prompt_len == split.prompt_lens[index]
            assert split.lengths[index] == len(tokens.input_ids)
        seen += split.ids
    assert sorted(seen, key=int) == [str(i) for i in range(1, NUM_ROWS + 1)]


def mapped(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ids = {"split": None}
    return [{**r, "id": str(i), "group": str(r["taxon"]), **ids} for i, r in enumerate(rows, 1)]


def test_data_json_counts_what_is_there(made: Prepared, rows_file: Path) -> None:
    report = report_of(made)
    sides = {name: open_split(made.directory, name) for name in ("train", "validation")}
    assert report["data_hash"] == made.data_hash and report["num_rows_in"] == NUM_ROWS
    assert report["num_rows"] == {name: len(side) for name, side in sides.items()}
    assert report["num_groups"] == {name: len(set(side.groups)) for name, side in sides.items()}
    assert report["num_tokens"] == {n: int(side.lengths.sum()) for n, side in sides.items()}
    trained = {n: int((side.lengths - side.prompt_lens).sum()) for n, side in sides.items()}
    assert report["num_target_tokens"] == trained
    assert report["longest_tokens"] == max(side.lengths.max() for side in sides.values())
    for name, side in sides.items():
        counts, edges = report["length_histogram"][name], report["length_histogram"]["edges"]
        assert counts == np.histogram(side.lengths, edges)[0].tolist() and sum(counts) == len(side)
    assert report["target_duplicates"] == [{"target": "Nada", "num_rows": NUM_ROWS // 5}]
    assert report["num_distinct_targets"] == NUM_ROWS - NUM_ROWS // 5 + 1
    assert (report["split"], report["straddling_groups"], report["dropped"]) == ("by group", [], [])
    assert report["files"][0]["num_rows"] == NUM_ROWS
    table = format_report(report)
    assert f"rows in     {NUM_ROWS}" in table and "140 x Nada" in table


def test_the_same_again_is_found_and_gives_the_same_bytes(
    made: Prepared, chat_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    out = made.directory.parents[1]
    before = (made.directory / "data.json").stat().st_mtime_ns
    assert find_prepared(config(rows_file), model_dir=chat_model, output_dir=out) == made
    assert prepare(config(rows_file), model_dir=chat_model, output_dir=out) == made
    assert (made.directory / "data.json").stat().st_mtime_ns == before
    again = prepare(config(rows_file), model_dir=chat_model, output_dir=tmp_path)
    for name in ("train.parquet", "validation.parquet", "data.json"):
        assert (again.directory / name).read_bytes() == (made.directory / name).read_bytes()


def test_any_change_makes_another_hash(
    made: Prepared, chat_model: Path, byte_model: Path, rows_file: Path, tmp_path: Path
) -> None:
    out = made.directory.parents[1]
    changed = write_rows(tmp_path / "rows.jsonl", [row(i) for i in range(NUM_ROWS - 1)])
    data = config(rows_file)
    assert find_prepared(config(changed), model_dir=chat_model, output_dir=out) is None
    assert find_prepared(data, model_dir=byte_model, output_dir=out) is None
    for more in ({"max_length": 2000}, {"split_seed": 1}, {"template": "plain"}):
        other = config(rows_file, **more)
        assert find_prepared(other, model_dir=chat_model, output_dir=out) is None


def test_given_split_drops_and_straddling_groups(
    ray_local: None, chat_model: Path, tmp_path: Path
) -> None:
    rows = [row(i, split="Train" if i < 40 else "Test", taxon=i % 41) for i in range(50)]
    rows[3]["target"] = "muy largo " * 400
    data = config(write_rows(tmp_path / "r.jsonl", rows), max_length=300)
    report = report_of(prepare(data, model_dir=chat_model, output_dir=tmp_path))
    assert report["num_rows"] == {"train": 39, "validation": 10}
    assert report["straddling_groups"] == [str(i) for i in range(9)]
    reason = "longer than max_length=300 tokens"
    assert report["dropped"] == [{"reason": reason, "num_rows": 1, "examples": ["4"]}]
    assert report["longest_tokens"] > 300
    assert "9 groups are on both sides of the split: 0, 1" in format_report(report)


def test_a_validation_file_is_the_validation_side(
    ray_local: None, chat_model: Path, tmp_path: Path
) -> None:
    train = write_rows(tmp_path / "a.jsonl", [row(i) for i in range(9)])
    other = write_rows(tmp_path / "b.jsonl", [row(i) for i in range(8, 12)])
    data = config(train, validation_file=str(other))
    prepared = prepare(data, model_dir=chat_model, output_dir=tmp_path)
    assert open_split(prepared.directory, "validation").ids == [
        f"validation-{i}" for i in range(1, 5)
    ]
    assert report_of(prepared)["straddling_groups"] == ["2"]
    rows = [row(i, split="train") for i in range(3)]
    clash = config(train, validation_file=str(write_rows(tmp_path / "c.jsonl", rows)))
    with pytest.raises(UserError, match="has split 'train', but this is the validation file"):
        prepare(clash, model_dir=chat_model, output_dir=tmp_path)


def refused(rows: list[dict[str, Any]], folder: Path, model: Path, **more: Any) -> str:
    """The error message of preparing these rows, which must leave nothing behind."""
    data = config(write_rows(folder / "rows.jsonl", rows), **more)
    with pytest.raises(UserError) as caught:
        prepare(data, model_dir=model, output_dir=folder / "out")
    left = list((folder / "out" / "prepared").iterdir()) if (folder / "out").exists() else []
    assert left == []
    return str(caught.value)


def test_rows_that_cannot_be_trained_on(ray_local: None, chat_model: Path, tmp_path: Path) -> None:
    rows = [row(i) for i in range(30)]
    message = refused(rows, tmp_path, chat_model, max_length=20)
    assert "all 2" in message and "longer than 20 tokens (shortest" in message
    longest = int(message.split("set data.max_length=")[1].split(" ")[0])
    rows[4]["target"] = rows[17]["target"] = ""
    message = refused(rows, tmp_path, chat_model, max_bad_rows=0)
    assert message.startswith("data: 2 rows cannot be used: the target is empty")
    assert "(ids 5, 18); fill or delete them" in message
    rows[4]["target"] = rows[17]["target"] = "Sí"
    data = config(write_rows(tmp_path / "rows.jsonl", rows), max_length=longest)
    made = prepare(data, model_dir=chat_model, output_dir=tmp_path / "out")
    assert report_of(made)["dropped"] == []


# The child blocks once its rows are written, so that it cannot finish before it is killed.
SCRIPT = """
import sys, threading, ray
from pathlib import Path
from datasets_src import pipeline
from datasets_src.config import DataConfig
from datasets_src.pipeline import prepare
pipeline.find_leaks = lambda *args, **kwargs: threading.Event().wait()
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
prepare(DataConfig.model_validate_json(sys.argv[1]), model_dir=Path(sys.argv[2]),
        output_dir=Path(sys.argv[3]))
"""


def test_a_killed_process_leaves_no_complete_directory(
    ray_local: None, made: Prepared, chat_model: Path, tmp_path: Path, rows_file: Path
) -> None:
    data = config(rows_file)
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, data.model_dump_json(), str(chat_model), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "prepared"
    deadline = time.monotonic() + 600
    while not list(folder.glob(".*.part/train.parquet")):
        assert child.poll() is None and time.monotonic() < deadline, "ended before it was killed"
        time.sleep(0.01)
    child.kill()
    child.wait()
    [part] = folder.iterdir()
    assert part.name.startswith(".") and not (part / "data.json").exists()
    assert find_prepared(data, model_dir=chat_model, output_dir=tmp_path) is None
    again = prepare(data, model_dir=chat_model, output_dir=tmp_path)
    assert list(folder.iterdir()) == [again.directory]
    for path in made.directory.iterdir():
        assert (again.directory / path.name).read_bytes() == path.read_bytes()


def test_preview_marks_the_trained_tokens(made: Prepared, chat_model: Path) -> None:
    from transformers import AutoTokenizer

    split, tokenizer = (
        open_split(made.directory, "train"),
        AutoTokenizer.from_pretrained(chat_model),
    )
    shown = preview(split, tokenizer, index=1, colour=False)
    target = split.example(1).target
    assert shown.endswith(f"<|im_start|>assistant\n«{target}<|im_end|>»")
    trained = int(split.lengths[1] - split.prompt_lens[1])
    assert f"{split.lengths[1]} tokens, {trained} target tokens (marked)" in shown
    assert preview(split, tokenizer, index=1, colour=True).endswith("<|im_end|>\x1b[0m")


def test_two_blocks_at_least(rows_file: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [row(i) for i in range(5)])
    loaded = load_examples(config(few), load_task(TASK), keep_block=lambda table: table.num_rows)
    assert loaded.blocks == [2, 3]
    many = load_examples(config(rows_file), load_task(TASK), keep_block=lambda t: t.num_rows)
    assert many.blocks == [256, 256, NUM_ROWS - 512]
