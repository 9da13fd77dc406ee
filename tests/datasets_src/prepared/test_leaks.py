"""Duplicates between training and validation are found, counted and reported; nothing else is."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets_src.config import DataConfig
from datasets_src.pipeline import prepare
from datasets_src.prepared.data_report import format_report
from datasets_src.prepared.leaks import (
    Side,
    compare_sides,
    folded_inputs,
    leak_lines,
    sketch_columns,
)
from datasets_src.types import Example

NONE = {"exact": {"num_rows": 0, "pairs": []}, "near": {"num_rows": 0, "pairs": []}}


def long_text(seed: int, num_words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("aeilnors", k=5)) for _ in range(num_words))


def compared(train: list[str], validation: list[str]) -> dict[str, Any]:
    """Of texts; ids are t0, t1, … and v0, v1, …"""
    texts = {"train": train, "validation": validation}
    folded = {
        name: [folded_inputs(Example("", "", {"text": t}, ""), ["text"]) for t in side]
        for name, side in texts.items()
    }
    sides = {}
    for name, side in folded.items():
        columns = sketch_columns(side)
        bands = columns["bands"].flatten().to_numpy().reshape(len(side), -1)
        ids = [f"{name[0]}{i}" for i in range(len(side))]
        sides[name] = Side(ids, columns["digest"].to_numpy(), bands)
    return compare_sides(sides["train"], sides["validation"], lambda name, i: folded[name][i])


def test_exact_and_near_duplicates_are_counted_and_named() -> None:
    train = [long_text(i) for i in range(200)]
    one_changed = train[7].split()
    one_changed[30] = "otra"  # 3 of 58 runs differ: 55 / 61
    half = " ".join([*train[8].split()[:40], *long_text(999).split()[:20]])
    found = compared(
        train, [long_text(500), train[5].upper(), " ".join(one_changed), half, f"  {train[5]}\n"]
    )
    assert found["exact"] == {
        "num_rows": 2,
        "pairs": [{"train": "t5", "validation": "v1"}, {"train": "t5", "validation": "v4"}],
    }
    pair = {"train": "t7", "validation": "v2", "jaccard": 0.902}
    assert found["near"] == {"num_rows": 1, "pairs": [pair]}


def test_the_most_similar_row_is_named() -> None:
    words = long_text(1, 100).split()
    less, more = [*words[:90], *"abcdefghij"], [*words[:95], *"abcde"]
    [pair] = compared([" ".join(less), " ".join(more)], [" ".join(words)])["near"]["pairs"]
    assert (pair["train"], pair["jaccard"]) == ("t1", round(93 / 103, 3))


def test_short_questions_that_differ_are_no_duplicates() -> None:
    """One word of six is another question, though most words are the same."""
    towns = ["León", "Girona", "Jaén", "Cáceres", "Ordesa", "Lugo"]
    questions = [f"¿Cuántas rutas hay en {town}?" for town in towns]
    assert compared(questions[:3], questions[3:]) == NONE


def test_rows_that_are_all_alike_are_each_found_once() -> None:
    """1,000 rows of one template that differ in a number: every validation row is near a row."""
    template = long_text(3)
    rows = [f"{template} {i}" for i in range(1000)]
    found = compared(rows[100:], rows[:100])
    assert (found["exact"]["num_rows"], found["near"]["num_rows"]) == (0, 100)
    assert len(found["near"]["pairs"]) == 5


def test_against_all_pairs() -> None:
    """Texts of every degree of similarity: the result equals a comparison of all pairs."""
    draw, base = random.Random(11), [long_text(i, 40).split() for i in range(6)]
    texts = []
    for _ in range(240):
        words = list(draw.choice(base))
        for place in draw.sample(range(40), draw.randint(0, 9)):
            words[place] = f"w{draw.randrange(50)}"
        texts.append(" ".join(words))
    train, validation = texts[:160], texts[160:]

    def triples(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}

    best = [
        max(len(triples(v) & triples(t)) / len(triples(v) | triples(t)) for t in train)
        for v in validation
    ]
    num_exact = sum(v in train for v in validation)
    num_near = sum(value >= 0.8 for value in best) - num_exact
    found = compared(train, validation)
    assert 5 < num_near < 75
    assert found["exact"]["num_rows"] == num_exact
    assert found["near"]["num_rows"] == pytest.approx(num_near, abs=1)


def test_warnings_name_the_remedy() -> None:
    assert leak_lines(NONE, num_rows=9, split="given") == []
    pairs = [{"train": "7", "validation": f"v{i}"} for i in range(5)]
    exact = NONE | {"exact": {"num_rows": 1200, "pairs": pairs}}
    lines = leak_lines(exact, num_rows=5000, split="by group")
    assert lines == [
        "1,200 of 5,000 validation rows have the same inputs as a training row: "
        "v0 = 7, v1 = 7, v2 = 7, v3 = 7, v4 = 7, …",
        "scores may be too high (leakage); keep such rows on one side with a column that they "
        "share, data.columns: {group: <column>}, or remove them",
    ]
    assert (
        "}, and leave out the split column" in leak_lines(exact, num_rows=5000, split="given")[-1]
    )


def test_prepare_reports_them_and_ignores_inputs_that_all_rows_share(
    ray_local: None, chat_model: Path, tmp_path: Path
) -> None:
    """All rows share science and context, two of them all: only these are duplicates."""
    shared = {"science": long_text(1, 200), "context": "[]", "target": "Sí"}
    rows = [
        {**shared, "prompt": f"¿Qué sé de {i}?", "description": long_text(i + 10)}
        for i in range(30)
    ]
    sides = ["train"] * 25 + ["validation"] * 5
    rows[27] = rows[3] | {"prompt": rows[3]["prompt"].upper(), "target": "No"}
    rows[29] = rows[4] | {"description": rows[4]["description"] + " además"}
    path = tmp_path / "rows.jsonl"
    given = [row | {"split": side} for row, side in zip(rows, sides, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    data = DataConfig(task="tests.benchmarks.step.description_rows", train_file=str(path))
    made = prepare(data, model_dir=chat_model, output_dir=tmp_path / "out")
    report = json.loads((made.directory / "data.json").read_text(encoding="utf-8"))
    assert report["leaks"]["exact"] == {
        "num_rows": 1,
        "pairs": [{"train": "4", "validation": "28"}],
    }
    # Of 65 words with a separator, 61 of 63 runs stay, and there are three new ones.
    pair = {"train": "5", "validation": "30", "jaccard": round(61 / 66, 3)}
    assert report["leaks"]["near"] == {"num_rows": 1, "pairs": [pair]}
    table = format_report(report)
    line = "1 of 5 validation rows have the same inputs as a training row: 28 = 4"
    assert f"warning     {line}" in table
    assert "nearly the same inputs" in table and "30 ~ 5 (0.92)" in table
    assert "{group: <column>}, and leave out the split column" in table


def test_absent_and_other_inputs_are_text_too() -> None:
    example = Example("1", "g", {"question": "¿Qué?", "tables": [1, {"a": None}]}, "t")
    assert folded_inputs(example, ["question", "lost", "tables"]).decode() == (
        '¿qué? \x1f  \x1f [1, {"a": null}]'
    )
    columns = sketch_columns([folded_inputs(example, ["question"])] * 2)
    assert np.ptp(columns["digest"].to_numpy()) == 0
