"""Descriptions: the authors' prompt byte for byte, the scores one by one, and the 279 real rows."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.reading.columns import map_rows
from datasets_src.reading.readers import read_rows
from datasets_src.tasks import descriptions
from datasets_src.types import Example

BIOSENDA = Path(__file__).resolve().parents[3] / "../shared/data/biosenda"
COLUMNS = {
    "wish": "Prompt",
    "description": "Gemini",
    "science": "Descripcion",
    "context": "SQL",
    "target": "Nueva Descripcion",
    "group": "idtaxon",
}
ROW = {
    "id": "7",
    "group": "nutria",
    "wish": "Di en cuántas rutas está",
    "description": "La nutria mide 24 cm.",
    "science": "Lutra, hasta 1.200 m.",
    "context": '[{"rutas": 12, "media": 3.125}]',
    "target": "La nutria mide 24 cm. Está en 12 rutas.",
    "split": "train",
}
# Of the constant reply "the text as it is" on the 279 rows of description_test_dataset.jsonl.
COPY_BASELINE = {
    "chrf": 0.8350,
    "exact": 0.2581,
    "levenshtein": 0.7736,
    "length_ratio": 0.8824,
    "unchanged_copy": 1.0,
    "reference_copy": 0.2581,
    "numbers_kept": 0.8158,
    "no_invented_numbers": 1.0,
}


def make(**change: Any) -> Example:
    options = {k: change.pop(k) for k in ("field_order",) if k in change}
    return next(descriptions.load([{**ROW, **change}], descriptions.Options(**options)))


def test_authors_prompt() -> None:
    prompt, completion = descriptions.to_text(make())
    assert prompt == (
        "### Prompt:::\n\nDi en cuántas rutas está\n\n"
        "### Descripcion a adaptar:::\n\nLa nutria mide 24 cm.\n\n"
        "### Descripción científica:::\n\nLutra, hasta 1.200 m.\n\n"
        '### Información adicional:::\n\n[{"rutas": 12, "media": 3.125}]\n\n'
        "### Nueva descripción:::\n\n"
    )
    assert completion == "La nutria mide 24 cm. Está en 12 rutas.\n"
    assert descriptions.to_messages(make()) == [
        {"role": "user", "content": prompt.removesuffix("\n\n### Nueva descripción:::\n\n")}
    ]


def test_shared_first_puts_the_shared_fields_first() -> None:
    first = descriptions.to_text(make(field_order="shared_first"))[0]
    other = descriptions.to_text(make(field_order="shared_first", wish="Otro deseo"))[0]
    same = len(first.split("### Prompt:::")[0])
    assert first[:same] == other[:same] and "La nutria mide 24 cm." in first[:same]
    # The same parts as in the authors' order, and the cue last.
    parts = sorted(descriptions.to_text(make())[0].split("\n\n"))
    assert sorted(first.split("\n\n")) == parts and first.endswith("### Nueva descripción:::\n\n")


def test_context_that_is_not_text_is_dumped_like_the_authors() -> None:
    context = make(context=[{"c": "Ávila"}]).inputs["context"]
    assert context == '[\n  {\n    "c": "\\u00c1vila"\n  }\n]'


@pytest.mark.parametrize(
    ("reply", "expected", "reason"),
    [
        (ROW["target"], {"chrf": 1.0, "exact": 1.0, "numbers_kept": 1.0}, ""),
        (f" {ROW['target']}\n", {"chrf": 1.0, "exact": 1.0, "length_ratio": 1.0}, ""),
        (
            ROW["description"],
            {"unchanged_copy": 1.0, "exact": 0.0, "numbers_kept": 0.5, "no_invented_numbers": 1.0},
            "text left unchanged",
        ),
        ("", {"chrf": 0.0, "length_ratio": 0.0, "numbers_kept": 0.0, "exact": 0.0}, "empty"),
        # 1200 and 3.125 are given, as is 3125, which is how 3.125 reads in a text; 99 is not
        (
            "Mide 24 cm a 1200 m, 3,125 o 3.125, y 99.",
            {"numbers_kept": 0.5, "no_invented_numbers": 0.8},
            "1 of 2 numbers missing (12); numbers invented: 99",
        ),
    ],
)
def test_scores(reply: str, expected: dict[str, float], reason: str) -> None:
    scores = descriptions.score(make(), reply)
    assert scores["reference_copy"] == 0
    assert {key: scores[key] for key in expected} == expected
    assert descriptions.why(make(), reply, scores) == reason


def test_why_of_a_reply_with_other_words() -> None:
    reply = "La nutria mide 24 cm y está en 12 rutas."
    scores = descriptions.score(make(), reply)
    assert descriptions.why(make(), reply, scores) == f"chrF {scores['chrf']:.2f}"


def test_numbers_kept_needs_a_number_in_the_reference() -> None:
    example = make(target="La nutria nada.")
    assert set(descriptions.score(example, "3")) == {*descriptions.METRICS} - {"numbers_kept"}


@pytest.mark.parametrize(
    ("target", "change"),
    [
        ("La nutria  mide 24 cm.", "copy"),
        ("Mamífero. La nutria mide 24 cm.", "prefix"),
        (ROW["target"], "suffix"),
        ("La nutria es corta.", "rewrite"),
    ],
)
def test_slices_by_the_change_of_the_reference(target: str, change: str) -> None:
    for context, held in (('[{"": null}]', "none"), ("", "none"), ("[]", "none"), ("x", "rows")):
        example = make(target=target, context=context)
        assert descriptions.slices(example) == {"change": change, "context": held}
    assert descriptions.slices(make())["context"] == "rows"


@pytest.mark.parametrize("name", ["wish", "description", "target"])
def test_a_row_without_text_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"row 7: `{name}` is ' '"):
        make(**{name: " "})
    with pytest.raises(UserError, match=f"row 7: `{name}` is 3, expected text"):
        make(**{name: 3})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(reply=st.text(st.characters(codec=None), max_size=200))
def test_any_reply_has_scores(reply: str) -> None:
    scores = descriptions.score(make(), reply)
    assert all(0 <= value <= 1 for value in scores.values())
    assert descriptions.why(make(), reply, scores)


@pytest.mark.parametrize("reply", ["1.234,5 " * 40_000, "9" * 300_000, "\n###" * 90_000])
def test_long_replies_are_scored_in_time(reply: str) -> None:
    started = time.process_time()
    scores = descriptions.score(make(), reply)
    descriptions.why(make(), reply, scores)
    assert time.process_time() - started < 1.5


@pytest.fixture(scope="module")
def real() -> list[Example]:
    path = BIOSENDA / "description_test_dataset.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is missing: the real rows of BioSenda may not be redistributed")
    rows = map_rows(
        read_rows(path, key="data.train_file"),
        COLUMNS,
        fields=descriptions.FIELDS,
        path=path,
        key="data.train_file",
    )
    return list(descriptions.load(rows, descriptions.Options()))


def means(examples: list[Example], replies: list[str]) -> dict[str, float]:
    rows = [descriptions.score(e, reply) for e, reply in zip(examples, replies, strict=True)]
    values = {k: [row[k] for row in rows if k in row] for k in descriptions.METRICS}
    return {k: sum(v) / len(v) for k, v in values.items()}


def test_real_references_score_1_against_themselves(real: list[Example]) -> None:
    found = means(real, [example.target for example in real])
    assert len(real) == 279 and len({example.group for example in real}) == 30
    copies = {"unchanged_copy": 72 / 279, "reference_copy": 72 / 279}
    assert found == pytest.approx({**dict.fromkeys(descriptions.METRICS, 1.0), **copies})


def test_copy_baseline_of_the_real_rows(real: list[Example]) -> None:
    found = means(real, [example.inputs["description"] for example in real])
    print(json.dumps(found))
    assert found == pytest.approx(COPY_BASELINE, abs=5e-5)
    assert sum("numbers_kept" in descriptions.score(e, "") for e in real) == 177


def test_changes_of_the_real_references(real: list[Example]) -> None:
    changes = Counter(descriptions.change_of(example) for example in real)
    assert changes == {"rewrite": 102, "copy": 72, "suffix": 54, "prefix": 51}
