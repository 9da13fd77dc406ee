"""The train/validation split. Rows of one group stay on one side.

split_rows(["19", "19", "23"], [None] * 3, size=0.5, seed=42).sides
["train", "train", "validation"]

A split column in the file takes precedence; groups that it puts on both sides are reported.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets_src.errors import UserError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Names of a side in English, Spanish and Catalan, case-folded and without accents.
SIDES = {
    TRAIN: ("train", "training", "entrenamiento", "entrenament"),
    VALIDATION: (
        *("validation", "valid", "val", "dev", "eval", "evaluation"),
        *("validacion", "evaluacion", "desarrollo", "validacio", "avaluacio"),
    ),
    TEST: ("test", "testing", "prueba", "prova"),
}


@dataclass(frozen=True)
class Assignment:
    """`sides[i]` is "train", "validation", or None for a row held out of both.

    `kind` is "given" or "by group"; `straddling` lists the groups that a given split puts on both
    sides.
    """

    sides: list[str | None]
    kind: str
    straddling: list[str]


def normalise_side(text: str) -> str | None:
    """Map any name in SIDES to "train", "validation" or "test"; None for other text."""
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return next((side for side, names in SIDES.items() if plain in names), None)


def share_of(group: str, *, seed: int) -> float:
    """A hash of group and seed in [0, 1), so that adding rows never moves another group."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def hash_side(group: str, *, size: float, seed: int) -> str:
    """ "validation" for a group whose share is below `size`, else "train"."""
    return VALIDATION if share_of(group, seed=seed) < size else TRAIN


def split_rows(
    groups: Sequence[str], given: Sequence[str | None], *, size: float, seed: int
) -> Assignment:
    """Assign each row to a side.

    Args:
        groups: the group of each row.
        given: the side given for each row: "train", "validation", "test" or None. "test" rows
            become the validation side if no row is "validation"; otherwise they are held out.
        size: share of the groups for validation, if no side is given.
        seed: seed of that split.

    Raises:
        UserError: only some rows give a split, or a side would be empty.
    """
    if all(side is None for side in given):
        side_of = {g: hash_side(g, size=size, seed=seed) for g in dict.fromkeys(groups)}
        sides: list[str | None] = [side_of[group] for group in groups]
        _refuse_empty_side(side_of, size=size, seed=seed)
        return Assignment(sides, "by group", [])
    if missing := sum(side is None for side in given):
        raise UserError(
            f"data.columns.split: {missing} of {len(given)} rows have no split; fill it in for"
            " every row, or leave it out to split by group"
        )
    spare = VALIDATION if VALIDATION not in given else None
    sides = [spare if side == TEST else side for side in given]
    for side in (TRAIN, VALIDATION):
        if side not in sides:
            raise UserError(
                f"data.columns.split: no row of {len(sides)} is on the {side} side; add some,"
                " set data.validation_file, or leave out the split column to split by group"
            )
    return Assignment(sides, "given", straddling_groups(groups, sides))


def straddling_groups(groups: Sequence[str], sides: Sequence[str | None]) -> list[str]:
    """Groups with rows on both sides, in natural order."""
    on = {
        side: {group for group, s in zip(groups, sides, strict=True) if s == side}
        for side in (TRAIN, VALIDATION)
    }
    return sorted(on[TRAIN] & on[VALIDATION], key=natural_key)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key for natural order: "9" before "10"."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts]


def _refuse_empty_side(side_of: Mapping[str, str], *, size: float, seed: int) -> None:
    empty = {TRAIN, VALIDATION} - set(side_of.values())
    if not empty:
        return
    shares = sorted(share_of(group, seed=seed) for group in side_of)
    if len(shares) < 2:
        remedy = "one group cannot be split: map group in data.columns, or set validation_file"
    else:
        # A size halfway between the two outermost shares puts exactly one group on that side.
        low, high = shares[:2] if empty == {VALIDATION} else shares[-2:]
        remedy = f"set data.validation_size={(low + high) / 2:.4g}, or another data.split_seed"
    raise UserError(
        f"data.validation_size: {size} of {len(shares)} groups leaves the {empty.pop()} side empty"
        f" (split_seed {seed}); {remedy}"
    )
