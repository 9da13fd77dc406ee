"""Replies made elsewhere, scored from the command line without a model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.common.shipped import ROOT, shipped_config

DUMP = "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b');"
ROWS: list[dict[str, Any]] = [
    {"id": 1, "Frage": "¿Cuántas?", "sql": "SELECT COUNT(*) FROM t"},
    {"id": 2, "Frage": "¿Nombres?", "sql": "SELECT name FROM t"},
    {"id": 3, "Frage": "¿Total?", "sql": "SELECT COUNT(*) FROM t"},
]
SHIPPED = ROOT / "datasets_src/shipped/senderos/text2sql.jsonl"


def evaluate(*arguments: str, task: str | None = "text2sql") -> subprocess.CompletedProcess[str]:
    named = [] if task is None else ["--task", task]
    command = [sys.executable, "-m", "jobs.evaluate", *named, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def held_rows() -> list[dict[str, Any]]:
    return [row for row in read(SHIPPED) if row["split"] == "validation"]


@pytest.fixture
def database(tmp_path: Path) -> str:
    (tmp_path / "t.sql").write_text(DUMP, encoding="utf-8")
    return f"database={tmp_path / 't.sql'}"


@pytest.fixture
def given(tmp_path: Path, database: str) -> list[str]:
    rows = write(tmp_path / "rows.jsonl", ROWS)
    return ["--data", rows, "--column", "question=Frage", "--option", database]


def test_a_file_of_replies_is_scored(given: list[str], tmp_path: Path) -> None:
    replies: list[dict[str, Any]] = [
        {"id": 1, "reply": "SELECT 2"},
        {"id": "2", "reply": "no lo sé", "model": "other"},
        {"id": 3, "reply": ""},
    ]
    path = write(tmp_path / "replies.jsonl", replies)
    done = evaluate(*given, "--predictions", path)
    record = last_json(done)
    lines = done.stdout.splitlines()
    line = " ".join(lines[1].split())
    assert line == "execution_accuracy 0.333 [0.061, 0.792] 3 0.667 [0.208, 0.939]"
    assert "3 rows in 3 groups, by which the intervals are" in lines
    assert "best constant: 'SELECT COUNT(*) FROM t'" in lines
    assert (record["name"], record["n"], record["num_groups"]) == (path, 3, 3)
    assert record["metrics"]["execution_accuracy"] == pytest.approx(1 / 3)
    assert record["intervals"]["execution_accuracy"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    assert record["constant"]["reply"] == "SELECT COUNT(*) FROM t"
    assert record["constant"]["metrics"]["execution_accuracy"] == pytest.approx(2 / 3)
    rows = read(tmp_path / "replies.scores.jsonl")
    assert [row["scores"]["execution_accuracy"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["why"] == "" and all(row["why"] for row in rows[1:])


def test_rows_without_a_reply_are_a_fault_unless_it_is_said_what_they_are(
    given: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "replies.jsonl", [{"id": 1, "reply": "SELECT 2"}])
    done = evaluate(*given, "--predictions", path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "2 of the 3 validation rows" in done.stderr and "(ids 2, 3)" in done.stderr
    done = evaluate(*given, "--predictions", path, "--missing", "empty")
    assert last_json(done)["metrics"]["execution_accuracy"] == pytest.approx(1 / 3)
    assert "2 rows without a reply count as empty: 2, 3" in done.stdout
    done = evaluate(*given, "--predictions", path, "--missing", "skip")
    assert (last_json(done)["n"], last_json(done)["metrics"]["execution_accuracy"]) == (1, 1.0)
    assert "2 validation rows without a reply are left out" in done.stdout


def test_rows_we_do_not_hold_bring_their_reference(database: str, tmp_path: Path) -> None:
    rows = [
        {"prompt": "¿Cuántas?", "reference": "SELECT COUNT(*) FROM t", "reply": "SELECT 2"},
        {"prompt": "¿Nombres?", "reference": "SELECT name FROM t", "reply": "SELECT id FROM t"},
    ]
    path = write(tmp_path / "replies.jsonl", rows)
    record = last_json(evaluate("--predictions", path, "--option", database))
    assert (record["n"], record["metrics"]["execution_accuracy"]) == (2, 0.5)
    assert record["constant"] is None
    assert [row["id"] for row in read(tmp_path / "replies.scores.jsonl")] == ["1", "2"]
    grouped = [{**row, "id": i, "group": "g"} for i, row in enumerate(rows)]
    other = write(tmp_path / "other.jsonl", [{**row, "reply": row["reference"]} for row in grouped])
    path = write(tmp_path / "replies.jsonl", grouped)
    done = evaluate("--predictions", path, "--option", database, "--against", other)
    record = last_json(done)
    assert (record["n"], record["num_groups"], record["comparison"]["difference"]) == (2, 1, -0.5)
    assert record["comparison"]["winner"] is None
    assert f"{path} and {other}: not distinguishable on 2 rows in 1 groups" in done.stdout


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({"reference": ""}, [], "replies.jsonl: row 2: `sql` is ''"),
        ({"reply": None}, [], "row 2: missing id or reply text"),
        ({"id": "1"}, [], "row 2: duplicate id 1"),
        ({}, ["--data", "rows.jsonl"], "--data: rows.jsonl, but the rows of"),
    ],
)
def test_a_broken_file_of_references_is_one_line_and_exit_2(
    change: dict[str, Any], arguments: list[str], says: str, database: str, tmp_path: Path
) -> None:
    row = {"prompt": "¿?", "reference": "SELECT 1", "reply": "SELECT 1"}
    path = write(tmp_path / "replies.jsonl", [row, {**row, **change}])
    done = evaluate("--predictions", path, "--option", database, *arguments)
    assert done.returncode == 2 and says in done.stderr, done
    assert len(done.stderr.splitlines()) == 1
    no_prompt = write(tmp_path / "replies.jsonl", [row, {"reply": "x"}])
    done = evaluate("--predictions", no_prompt, "--option", database)
    assert "row 2: missing prompt and reference; write" in done.stderr and done.returncode == 2


def test_bad_rows_of_the_data_are_left_out_as_in_training(given: list[str], tmp_path: Path) -> None:
    more: list[dict[str, Any]]
    more = [{"id": i, "Frage": f"{i}?", "sql": "SELECT 1" if i != 9 else " "} for i in range(4, 24)]
    write(tmp_path / "rows.jsonl", [*ROWS, *more])
    replies = write(tmp_path / "replies.jsonl", [{"id": 1, "reply": "SELECT 2"}])
    done = evaluate(*given, "--predictions", replies, "--missing", "empty")
    assert done.returncode == 0, done.stderr
    assert "1 bad rows of the data are left out: rows.jsonl:9 `sql` is ' '" in done.stdout
    assert len(read(tmp_path / "replies.scores.jsonl")) == 22
    write(tmp_path / "rows.jsonl", [*ROWS, more[5]])
    done = evaluate(*given, "--predictions", replies)
    assert done.returncode == 2
    assert "data.max_bad_rows: 1 of 4 rows are bad" in done.stderr and "rows.jsonl:4" in done.stderr


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([{"id": 1, "reply": "SELECT 1"}, {"id": 88, "reply": "x"}], "1 of 2 ids (88)"),
        ([{"id": 1, "reply": "a"}, {"id": "1", "reply": "b"}], "row 2: duplicate id 1"),
        ([{"id": 1, "reply": None}], "row 1: missing id or reply text"),
        ([{"id": 1, "sql": "SELECT 1"}], "row 1: missing id or reply text"),
        ([{"reply": "SELECT 1"}], "row 1: missing id or reply text"),
    ],
)
def test_a_broken_file_of_replies_is_one_line_and_exit_2(
    replies: list[dict[str, Any]], says: str, given: list[str], tmp_path: Path
) -> None:
    done = evaluate(*given, "--predictions", write(tmp_path / "replies.jsonl", replies))
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "replies.scores.jsonl").exists()


@pytest.mark.parametrize(
    ("task", "arguments", "says"),
    [
        ("text3sql", [], "--task: unknown task 'text3sql'; did you mean text2sql? known:"),
        (None, [], "--task: not given; name one of"),
        ("text2sql", ["--metric", "acuracy"], "--metric: unknown metric 'acuracy'"),
        ("text2sql", ["--option", "dialect=tsql"], "quickstart.yaml has its own"),
        ("tests.benchmarks.step.description_rows", [], "no rows ship for tests.benchmarks"),
        (
            "tests.benchmarks.step.description_rows",
            ["--config", "jobs/configs/quickstart.yaml"],
            "is of",
        ),
    ],
)
def test_flags_that_do_not_fit_are_one_line_and_exit_2(
    task: str | None, arguments: list[str], says: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "gold.jsonl", [{"id": r["id"], "reply": r["sql"]} for r in held_rows()])
    done = evaluate("--predictions", path, *arguments, task=task)
    assert done.returncode == 2 and says in done.stderr, done
    assert len(done.stderr.splitlines()) == 1


def test_without_rows_the_shipped_set_is_scored_and_another_file_compared(tmp_path: Path) -> None:
    held = held_rows()
    gold = [{"id": row["id"], "reply": row["sql"]} for row in held]
    half = [{**row, "reply": row["reply"] if i % 4 < 2 else "SELECT"} for i, row in enumerate(gold)]
    paths = [write(tmp_path / f"{n}.jsonl", r) for n, r in (("gold", gold), ("half", half))]
    done = evaluate("--predictions", paths[0], "--against", paths[1])
    record = last_json(done)
    assert record["metrics"]["execution_accuracy"] == 1.0 and record["n"] == len(held)
    comparison = record["comparison"]
    assert comparison["difference"] == pytest.approx(0.5, abs=0.01)
    assert (comparison["winner"], comparison["num_groups"]) == (paths[0], 68)
    assert comparison["p"] < 0.001 and comparison["interval"][0] > 0.35
    assert f"{paths[0]} beats {paths[1]} by 0.500" in done.stdout
    assert record["against"]["metrics"]["execution_accuracy"] == pytest.approx(0.5, abs=0.01)
    printed = ("--against", paths[1], "--metric", "invalid", "--mode", "min")
    record = last_json(evaluate("--predictions", paths[0], *printed))
    assert record["comparison"]["winner"] == paths[0], "the lower share of invalid SQL"
    record = last_json(evaluate("--predictions", paths[1], "--metric", "valid_sql"))
    assert record["metric"] == "valid_sql" and record["constant"]["metrics"]["valid_sql"] == 1.0


def test_a_runs_own_file_is_scored_on_its_rows(tmp_path: Path) -> None:
    """Its config is found, and the rows that it has dropped are not counted as wrong."""
    (tmp_path / "config.yaml").write_text(
        (ROOT / "jobs/configs/quickstart.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    held = held_rows()[10:]
    rows = [
        {"id": r["id"], "group": r["group"], "target": r["sql"], "reply": r["sql"], "num_tokens": 9}
        for r in held
    ]
    path = tmp_path / "predictions/step-000055.jsonl"
    done = evaluate("--predictions", write(path, rows), task=None)
    record = last_json(done)
    assert (record["n"], record["metrics"]["execution_accuracy"]) == (len(held), 1.0)
    assert "10 validation rows without a reply are left out" in done.stdout
    assert [p.name for p in path.parent.iterdir()] == [path.name], "only the run writes there"
    assert len(read(tmp_path / "rescored/step-000055.jsonl")) == len(held)
    rows[3]["target"] = "SELECT 1"
    done = evaluate("--predictions", write(path, rows), task=None)
    assert done.returncode == 2 and f"the targets of 1 of {len(held)} rows" in done.stderr


def test_the_shipped_config_is_found_by_its_task() -> None:
    config = shipped_config("text2sql")
    assert config is not None and config.stem in ("text2sql", "quickstart")
    assert shipped_config("no_task") is None


def test_scoring_needs_neither_torch_nor_ray(given: list[str], tmp_path: Path) -> None:
    rows = [{"id": i, "reply": "SELECT 2"} for i in (1, 2, 3)]
    arguments = ["--task", "text2sql", *given]
    arguments += ["--predictions", write(tmp_path / "replies.jsonl", rows)]
    code = (
        "import sys; from jobs.evaluate import main; main(sys.argv[1:]); "
        "print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done
