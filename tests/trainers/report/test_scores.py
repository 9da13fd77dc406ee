"""The verdict: which checkpoint, against what, and how sure."""

from collections.abc import Callable
from pathlib import Path

from trainers.report.records import read_records
from trainers.report.scores import (
    chosen_name,
    paired_tests,
    score_table,
    slice_table,
    verdict,
)
from trainers.storage.json_files import append_jsonl, read_jsonl, write_jsonl

MakeRun = Callable[..., Path]


def add_score(run_dir: Path, name: str, value: float, low: float, high: float) -> None:
    row = next(iter(read_jsonl(run_dir / "scores.jsonl")))
    metric = row["metric"]
    step = int(name.removeprefix("step-")) if name != "constant" else None
    changed = {
        "name": name,
        "step": step,
        "metrics": {metric: value},
        "intervals": {metric: [low, high]},
    }
    append_jsonl(run_dir / "scores.jsonl", row | changed)


def test_the_best_is_chosen_not_the_last_and_of_equals_the_earliest(make_run: MakeRun) -> None:
    run_dir = make_run()
    assert chosen_name(read_records(run_dir)) == "step-000100"
    add_score(run_dir, "step-000040", 0.925, 0.8, 0.97)
    assert chosen_name(read_records(run_dir)) == "step-000040"
    assert chosen_name(read_records(make_run(num_checkpoints=1, name="one"))) == "step-000020"


def test_what_the_paired_tests_say_is_said(make_run: MakeRun) -> None:
    found = verdict(read_records(make_run(num_checkpoints=6)))
    assert found.tone == "good" and found.text.endswith(
        "It beats the untuned base and the best constant answer. "
        "It is not distinguishable from step 80 on 40 rows in 40 groups."
    )
    tests = paired_tests(read_records(make_run(num_checkpoints=6, name="again")))
    assert [line.split(" by ")[0] for line in tests[:2]] == [
        "step 100 beats untuned base",
        "step 100 beats best constant",
    ]
    assert tests[0].startswith("step 100 beats untuned base by 0.575 [0.4")
    assert tests[0].endswith("p < 0.001 (40 rows in 40 groups)")
    assert tests[2].startswith("step 100 and step 80: not distinguishable on 40 rows in 40 groups")


def test_doubt_and_defeat_are_said(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=1)
    constant = run_dir / "predictions/constant.jsonl"
    rows = list(read_jsonl(constant))
    for row, right in zip(rows, [1.0] * 30 + [0.0] * 10, strict=True):
        row["scores"]["execution_accuracy"] = right
    write_jsonl(constant, rows)
    found = verdict(read_records(run_dir))
    assert "It is not distinguishable from the best constant answer on 40 rows" in found.text
    assert found.tone == "open"
    for row in rows:
        row["scores"]["execution_accuracy"] = 1.0
    write_jsonl(constant, rows)
    text = verdict(read_records(run_dir)).text
    assert "It does not beat the best constant answer, which is better." in text
    constant.unlink()
    found = verdict(read_records(run_dir))
    assert "There are no replies to test it against the best constant answer." in found.text
    assert found.tone == "open"


def test_the_few_shot_base_is_a_baseline(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=2)
    base = next(iter(read_jsonl(run_dir / "scores.jsonl")))
    few_shot = {"name": "few_shot", "predictions": "predictions/base.jsonl"}
    append_jsonl(run_dir / "scores.jsonl", base | few_shot)
    records = read_records(run_dir)
    assert [row["label"] for row in score_table(records)][:3] == [
        "untuned base",
        "few-shot base",
        "best constant",
    ]
    assert [row["baseline"] for row in score_table(records)] == [True] * 3 + [False] * 2
    assert "the base with solved examples 0.35 [0.22, 0.50]" in verdict(records).text
    assert "step 40 beats few-shot base" in paired_tests(records)[1]


def test_a_metric_of_some_rows_has_their_number(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=1)
    base = next(iter(read_jsonl(run_dir / "scores.jsonl")))
    append_jsonl(run_dir / "scores.jsonl", base | {"num_rows": {"exact_match": 12}})
    table = score_table(read_records(run_dir))
    assert [cell[3] for cell in table[0]["metrics"]] == [0, 12, 0]


def test_slices_stand_beside_the_baselines(make_run: MakeRun) -> None:
    table = slice_table(read_records(make_run()))
    assert table is not None
    assert table.columns == ["untuned base", "best constant", "step 100"]
    assert [(name, n) for name, n, _ in table.rows] == [
        ("place=Ordesa", 7),
        ("place=Aigüestortes", 7),
    ]
    [base, _, best] = [cell[0] for cell in table.rows[0][2] if cell is not None]
    assert base < best <= 1.0
    run_dir = make_run(name="without")
    rows = [row | {"slices": {}} for row in read_jsonl(run_dir / "scores.jsonl")]
    write_jsonl(run_dir / "scores.jsonl", rows)
    assert slice_table(read_records(run_dir)) is None


def test_a_later_score_of_one_name_replaces_the_earlier(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=2)
    add_score(run_dir, "step-000020", 0.25, 0.14, 0.4)
    table = score_table(read_records(run_dir))
    labels = [row["label"] for row in table]
    assert labels == ["untuned base", "best constant", "step 20", "step 40"]
    assert table[2]["metrics"] == [(0.25, 0.14, 0.4, 0), None, None]
    assert [row["chosen"] for row in table] == [False, False, False, True]
