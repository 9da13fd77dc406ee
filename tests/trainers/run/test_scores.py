"""The best checkpoint against each baseline and the second best, from a run's own files."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasets_src.scoring.score import summarise
from datasets_src.types import Example, Slice
from jobs.common.summary import summary_table
from trainers.run.scores import best_score, compare_with_baselines, find_score, read_scores
from trainers.storage.json_files import append_jsonl, read_jsonl, write_jsonl

NUM_ROWS = 40
TASK = cast(
    Any,
    SimpleNamespace(METRICS=("equal", "kept"), slices=lambda e: {"side": "ab"[int(e.id) % 2]}),
)


def add(run_dir: Path, name: str, num_right: int, *, reply: str | None = None) -> None:
    """A score of which the first `num_right` rows are right; `kept` applies to checkpoints."""
    examples = [Example(str(i), f"g{i // 2}", {}, "x") for i in range(NUM_ROWS)]
    kept = {"kept": 0.5} if name.startswith("step") else {}
    rows = [{"equal": float(i < num_right), **kept} for i in range(NUM_ROWS)]
    path = f"predictions/{name}.jsonl"
    score = summarise(
        name,
        task=TASK,
        metric="equal",
        examples=examples,
        rows=rows,
        predictions=path,
        step=int(name.removeprefix("step-")) if name.startswith("step") else None,
        constant_reply=reply,
    )
    append_jsonl(run_dir / "scores.jsonl", asdict(score))
    pairs = zip(examples, rows, strict=True)
    write_jsonl(run_dir / path, [{"id": e.id, "group": e.group, "scores": r} for e, r in pairs])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    add(tmp_path, "base", 2)
    add(tmp_path, "few_shot", 10)
    add(tmp_path, "constant", 12, reply="x")
    add(tmp_path, "step-000010", 24)
    add(tmp_path, "step-000020", 32)
    add(tmp_path, "step-000030", 30)
    return tmp_path


def test_a_line_of_scores_is_read_as_it_was_written(run_dir: Path) -> None:
    score = find_score(run_dir, "step-000020")
    assert score is not None and (score.n, score.num_groups) == (40, 20)
    assert score.slices["side=a"].value == 0.8 and isinstance(score.slices["side=a"], Slice)
    assert score.num_rows == {"equal": 40, "kept": 40} and isinstance(
        score.intervals["equal"], tuple
    )
    old = {k: v for k, v in asdict(score).items() if k not in ("num_groups", "num_rows", "slices")}
    append_jsonl(run_dir / "scores.jsonl", old | {"name": "base", "step": None})
    assert read_scores(run_dir)[0].num_groups == 0, "a line of an older run"


def test_the_best_is_tested_against_baselines_and_the_second_best(run_dir: Path) -> None:
    found = compare_with_baselines(run_dir)
    assert list(found) == ["base", "few_shot", "constant", "step-000030"]
    differences = [round(test.difference, 3) for test in found.values()]
    assert differences == [0.75, 0.55, 0.5, 0.05]
    assert [test.winner for test in found.values()] == [1, 1, 1, 0]
    assert all(test.num_groups == 20 for test in found.values())


def test_what_has_no_replies_or_no_score_is_not_tested(run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "predictions/base.jsonl").unlink()
    assert list(compare_with_baselines(run_dir)) == ["few_shot", "constant", "step-000030"]
    fresh = tmp_path / "fresh"
    assert compare_with_baselines(fresh) == {} and best_score(fresh) is None
    add(fresh, "base", 3)
    assert compare_with_baselines(fresh) == {}
    add(fresh, "step-000005", 9)
    assert list(compare_with_baselines(fresh)) == ["base"]


def test_the_summary_ends_with_the_tests(run_dir: Path) -> None:
    lines = summary_table(run_dir).splitlines()
    assert [" ".join(line.split()) for line in lines[:2]] == [
        "equal 95 % interval n groups kept",
        "base 0.050 [0.009, 0.236] 40 20 –",
    ]
    assert lines[3].endswith("always 'x'") and lines[5].endswith("<- best")
    assert [" ".join(line.split()[:3]) for line in lines[5:6]] == ["step-000020 0.800 [0.600,"]
    assert lines[7] == ""
    assert lines[8].startswith("step-000020 beats base by 0.750 [0.5")
    assert lines[8].endswith("p < 0.001 (40 rows in 20 groups)")
    assert lines[11].startswith(
        "step-000020 and step-000030: not distinguishable on 40 rows in 20 groups"
        " (difference 0.050 ["
    )
    assert len(lines) == 12
    assert summary_table(run_dir / "predictions") == "no scores yet"


def test_replies_with_a_thinking_block_are_counted_in_the_summary(run_dir: Path) -> None:
    assert "thinking" not in summary_table(run_dir)
    score = find_score(run_dir, "base")
    assert score is not None
    thinking = asdict(score) | {"num_thinking": 30, "num_unclosed": 4}
    append_jsonl(run_dir / "scores.jsonl", thinking)
    line = summary_table(run_dir).splitlines()[1]
    assert line.endswith("30 of 40 replies start with a thinking block, 4 of which do not end")


def test_of_a_metric_that_is_to_be_low_the_lowest_is_the_best(run_dir: Path) -> None:
    rows = [row | {"greater_is_better": False} for row in read_jsonl(run_dir / "scores.jsonl")]
    write_jsonl(run_dir / "scores.jsonl", rows)
    best = best_score(run_dir)
    assert best is not None and best.name == "step-000010"
    found = compare_with_baselines(run_dir)
    assert {name: test.winner for name, test in found.items()} == {
        "base": -1, "few_shot": -1, "constant": -1, "step-000030": 0,
    }  # fmt: skip
    assert "base beats step-000010 by 0.550" in summary_table(run_dir)
