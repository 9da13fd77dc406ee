"""The split: determined by group and seed alone; a split column takes precedence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_src.errors import UserError
from datasets_src.split import hash_side, natural_key, normalise_side, split_rows

GROUPS = st.lists(st.text(max_size=6), min_size=60, max_size=200, unique=True)


@given(groups=GROUPS, extra=GROUPS, seed=st.integers(0, 5))
def test_adding_rows_moves_no_group(groups: list[str], extra: list[str], seed: int) -> None:
    few = split_rows(groups, [None] * len(groups), size=0.3, seed=seed)
    more = split_rows([*extra, *groups], [None] * (len(extra) + len(groups)), size=0.3, seed=seed)
    assert more.sides[len(extra) :] == few.sides
    assert few.kind == "by group" and few.straddling == []


@given(groups=st.lists(st.sampled_from("abcdefgh"), min_size=100, max_size=150))
def test_rows_of_a_group_stay_together(groups: list[str]) -> None:
    sides = split_rows([*groups, *"abcdefgh"], [None] * (len(groups) + 8), size=0.5, seed=1).sides
    assert len(set(zip([*groups, *"abcdefgh"], sides, strict=True))) == 8


def test_share_and_seed_of_the_split() -> None:
    sides = [hash_side(str(i), size=0.1, seed=42) for i in range(10_000)]
    assert 900 < sides.count("validation") < 1100
    assert sides != [hash_side(str(i), size=0.1, seed=43) for i in range(10_000)]
    # Literals: a change here moves rows of every user between the sides.
    assert [hash_side(str(i), size=0.5, seed=42) for i in range(4)] == [
        "validation",
        "validation",
        "train",
        "train",
    ]


def test_a_given_split_is_honoured_and_straddling_groups_are_named() -> None:
    groups = ["9", "9", "23", "19", "23", "19"]
    given_sides = ["train", "train", "train", "train", "test", "test"]
    split = split_rows(groups, given_sides, size=0.1, seed=42)
    assert split.sides == ["train"] * 4 + ["validation"] * 2
    assert (split.kind, split.straddling) == ("given", ["19", "23"])


def test_test_rows_are_held_out_beside_validation_rows() -> None:
    split = split_rows(list("abc"), ["train", "validation", "test"], size=0.1, seed=42)
    assert split.sides == ["train", "validation", None]


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Train", "train"),
        ("Entrenamiento", "train"),
        (" DEV ", "validation"),
        ("Validación", "validation"),
        ("eval", "validation"),
        ("Prueba", "test"),
        ("otro", None),
    ],
)
def test_names_of_sides(text: str, side: str | None) -> None:
    assert normalise_side(text) == side


@pytest.mark.parametrize("size", [0.001, 0.999])
def test_an_empty_side_is_refused_with_a_size_that_works(size: float) -> None:
    groups = ["a", "b", "c"]
    with pytest.raises(UserError, match=f"data.validation_size: {size} of 3 groups") as caught:
        split_rows(groups, [None] * 3, size=size, seed=42)
    remedy = str(caught.value).split("data.validation_size=")[1].split(",")[0]
    assert len(set(split_rows(groups, [None] * 3, size=float(remedy), seed=42).sides)) == 2


def test_faults_of_a_given_split() -> None:
    with pytest.raises(UserError, match="one group cannot be split"):
        split_rows(["a", "a"], [None] * 2, size=0.1, seed=42)
    with pytest.raises(UserError, match="1 of 2 rows have no split"):
        split_rows(["a", "b"], ["train", None], size=0.1, seed=42)
    with pytest.raises(UserError, match="no row of 2 is on the validation side"):
        split_rows(["a", "b"], ["train", "train"], size=0.1, seed=42)


def test_natural_order() -> None:
    assert sorted(["10", "9", "a2", "a10"], key=natural_key) == ["9", "10", "a2", "a10"]
