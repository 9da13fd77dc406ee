"""Replies made elsewhere, scored from the command line without a model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DUMP = "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b');"
ROWS: list[dict[str, object]] = [
    {"id": 1, "Frage": "¿Cuántas?", "sql": "SELECT COUNT(*) FROM t"},
    {"id": 2, "Frage": "¿Nombres?", "sql": "SELECT name FROM t"},
    {"id": 3, "Frage": "¿Total?", "sql": "SELECT COUNT(*) FROM t"},
]


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.evaluate", "--task", "text2sql", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    (tmp_path / "t.sql").write_text(DUMP, encoding="utf-8")
    rows = write(tmp_path / "rows.jsonl", ROWS)
    database = f"database={tmp_path / 't.sql'}"
    return ["--data", rows, "--column", "question=Frage", "--option", database]


def test_a_file_of_replies_is_scored(given: list[str], tmp_path: Path) -> None:
    replies: list[dict[str, object]] = [
        {"id": 1, "reply": "SELECT 2"},
        {"id": "2", "reply": "no lo sé", "model": "other"},
    ]
    done = evaluate(*given, "--predictions", write(tmp_path / "replies.jsonl", replies))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    line = " ".join(lines[1].split())
    assert line == "execution_accuracy 0.333 [0.061, 0.792] 3 0.667 [0.208, 0.939]"
    assert "best constant: 'SELECT COUNT(*) FROM t', 2/3" in lines
    assert "1 rows without a reply count as empty: 3" in lines
    written = (tmp_path / "replies.scores.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in written]
    assert [row["scores"]["execution_accuracy"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["scores"]["valid_sql"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["id"] for row in rows] == ["1", "2", "3"]


def test_bad_rows_of_the_data_are_left_out_as_in_training(given: list[str], tmp_path: Path) -> None:
    more: list[dict[str, object]]
    more = [{"id": i, "Frage": f"{i}?", "sql": "SELECT 1" if i != 9 else " "} for i in range(4, 24)]
    write(tmp_path / "rows.jsonl", [*ROWS, *more])
    replies = write(tmp_path / "replies.jsonl", [{"id": 1, "reply": "SELECT 2"}])
    done = evaluate(*given, "--predictions", replies)
    assert done.returncode == 0, done.stderr
    assert "1 bad rows of the data are left out: rows.jsonl:9 `sql` is ' '" in done.stdout
    assert len((tmp_path / "replies.scores.jsonl").read_text("utf-8").splitlines()) == 22
    write(tmp_path / "rows.jsonl", [*ROWS, more[5]])
    done = evaluate(*given, "--predictions", replies)
    assert done.returncode == 2
    assert "data.max_bad_rows: 1 of 4 rows are bad" in done.stderr and "rows.jsonl:4" in done.stderr


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([{"id": 1, "reply": "SELECT 1"}, {"id": 88, "reply": "x"}], "1 of 2 ids (88)"),
        ([{"id": 1, "reply": "a"}, {"id": "1", "reply": "b"}], "row 2: id 1 stands twice"),
        ([{"id": 1, "reply": None}], "row 1: no id or no text"),
        ([{"id": 1, "sql": "SELECT 1"}], "row 1: no id or no text"),
    ],
)
def test_a_broken_file_of_replies_is_one_line_and_exit_2(
    replies: list[dict[str, object]], says: str, given: list[str], tmp_path: Path
) -> None:
    done = evaluate(*given, "--predictions", write(tmp_path / "replies.jsonl", replies))
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "replies.scores.jsonl").exists()


def test_without_rows_the_shipped_set_is_scored(tmp_path: Path) -> None:
    shipped = ROOT / "datasets_src/senderos/text2sql.jsonl"
    rows = [json.loads(line) for line in shipped.read_text(encoding="utf-8").splitlines()]
    held = [row for row in rows if row["split"] == "validation"]
    gold: list[dict[str, object]] = [{"id": row["id"], "reply": row["sql"]} for row in held]
    done = evaluate("--predictions", write(tmp_path / "gold.jsonl", gold))
    assert done.returncode == 0, done.stderr
    cells = done.stdout.splitlines()[1].split()
    assert cells[:2] == ["execution_accuracy", "1.000"] and cells[4] == str(len(held))


def test_scoring_needs_neither_torch_nor_ray(given: list[str], tmp_path: Path) -> None:
    replies = write(tmp_path / "replies.jsonl", [{"id": 1, "reply": "SELECT 2"}])
    code = (
        "import sys; from jobs.evaluate import main; main(sys.argv[1:]); "
        "print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, *given, "--predictions", replies]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done
