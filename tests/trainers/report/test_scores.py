"""The verdict: which checkpoint, against what, and how sure."""

from collections.abc import Callable
from pathlib import Path

from trainers.report.records import read_records
from trainers.report.scores import chosen_name, score_table, verdict
from trainers.run_dir import append_jsonl, read_jsonl

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


def test_overlap_and_defeat_are_said(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=1)
    found = verdict(read_records(run_dir))  # 0.575 [0.42, 0.71] against 0.35 [0.22, 0.50]
    assert found.tone == "open"
    assert "interval overlaps that of the untuned base: the gain is not certain" in found.text
    add_score(run_dir, "constant", 0.6, 0.44, 0.74)
    assert "It does not beat the best constant answer." in verdict(read_records(run_dir)).text
    assert verdict(read_records(make_run(name="six"))).tone == "good"


def test_a_later_score_of_one_name_replaces_the_earlier(make_run: MakeRun) -> None:
    run_dir = make_run(num_checkpoints=2)
    add_score(run_dir, "step-000020", 0.25, 0.14, 0.4)
    table = score_table(read_records(run_dir))
    labels = [row["label"] for row in table]
    assert labels == ["untuned base", "best constant", "step 20", "step 40"]
    assert table[2]["metrics"] == [(0.25, 0.14, 0.4), None, None]
    assert [row["chosen"] for row in table] == [False, False, False, True]
