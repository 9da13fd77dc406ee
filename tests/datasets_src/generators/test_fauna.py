"""The shipped fauna set: its generator reproduces it, and its validation split is fair."""

import json
from collections import Counter

from datasets_src.generators.fauna import generate, material
from datasets_src.generators.fauna.wishes import WISHES
from datasets_src.tasks import descriptions

FOLDER = generate.FOLDER
ROWS = [json.loads(x) for x in (FOLDER / "descriptions.jsonl").read_text("utf-8").splitlines()]
TRAIN = [row for row in ROWS if row["split"] == "train"]
VALIDATION = [row for row in ROWS if row["split"] == "validation"]
EXAMPLES = list(descriptions.load(ROWS, descriptions.Options()))


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (FOLDER / name).read_bytes() == text.encode("utf-8"), name


def test_the_raw_material_is_that_of_its_script() -> None:
    for name, text in material.generate().items():
        assert (FOLDER / "material" / name).read_bytes() == text.encode("utf-8"), name


def test_counts() -> None:
    assert (len(TRAIN), len(VALIDATION)) == (528, 88)
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert (FOLDER / "descriptions.jsonl").stat().st_size < 300_000
    wordings = [wording for wish in WISHES for wording in wish.wordings]
    assert len(wordings) == len(set(wordings)) == 7 * 11


def test_nothing_is_in_both_splits() -> None:
    for held in ("group", "wish", "description", "target"):
        assert not {row[held] for row in TRAIN} & {row[held] for row in VALIDATION}, held
    assert Counter(row["wish"] for row in VALIDATION) == dict.fromkeys(
        (w for wish in WISHES for w in wish.validation_wordings), 4
    )


def test_every_name_of_validation_is_trained_on() -> None:
    for place in (0, 1):
        asked = {row["group"].split(":")[place] for row in VALIDATION}
        assert asked <= {row["group"].split(":")[place] for row in TRAIN}
    assert len({row["group"].split(":")[0] for row in VALIDATION}) == 22


def test_all_that_may_be_done_to_a_text_is_in_both_splits() -> None:
    for split in ("train", "validation"):
        found = Counter(descriptions.change_of(e) for e in EXAMPLES if e.split == split)
        total = found.total()
        assert {k: round(11 * v / total) for k, v in found.items()} == {
            **{"copy": 2, "prefix": 2, "suffix": 5, "rewrite": 2}
        }


def test_every_reference_is_perfect_and_invents_no_number() -> None:
    for example in EXAMPLES:
        scores = descriptions.score(example, example.target)
        assert scores["chrf"] == scores["exact"] == scores["numbers_kept"] == 1
        given = descriptions.numbers_of(" ".join(example.inputs.values()))
        assert descriptions.numbers_of(example.target) <= given
