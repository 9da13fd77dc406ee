"""What a sweep searches: a distribution for each config field, drawn as {field: value}.

learning_rate: {min: 1.0e-4, max: 1.0e-2, log: true}     a range; whole numbers for a whole field
lora_r: [8, 16, 32]                                      choices, or the values of a grid
_: [{train_batch_size: 8, learning_rate: 1.0e-3}, ...]   values that go together (any key with _)
"""

import difflib
import itertools
import math
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.config.load import find_leaf, leaves, unknown_key
from trainers.config.schema import Config

SECTIONS = ("train", "method")
Values = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of `values`, each a value for every name of the dimension."""

    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Range:
    """A number between two, evenly or by its logarithm."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> float | int:
        """The value below which lies this share of the draws."""
        if self.whole:
            # Each whole number has the same width, also at the ends.
            low, high = self.low - 0.5, self.high + 0.5
            value = _between(max(low, 0.5) if self.log else low, high, share, log=self.log)
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return self.rounded(_between(self.low, self.high, share, log=self.log))

    def rounded(self, value: float) -> float:
        """Four digits are more than a score can tell apart, and can be read."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Dimension:
    """Fields, by their dotted names, whose values are drawn together."""

    names: tuple[str, ...]
    of: Choice | Range

    def draw(self, share: float) -> Values:
        """The values at a number in [0, 1)."""
        if isinstance(self.of, Range):
            return {self.names[0]: self.of.at(share)}
        return self.all()[int(share * len(self.of.values))]

    def all(self) -> list[Values]:
        """Every choice; the whole numbers of a range; the ends of another one."""
        if isinstance(self.of, Choice):
            return [dict(zip(self.names, values, strict=True)) for values in self.of.values]
        if self.of.whole:
            return [{self.names[0]: n} for n in range(int(self.of.low), int(self.of.high) + 1)]
        return self.ends()

    def ends(self) -> list[Values]:
        """Values that are valid exactly where all are."""
        if isinstance(self.of, Choice):
            return self.all()
        return [{self.names[0]: self.of.at(0.0)}, {self.names[0]: self.of.at(1.0)}]


@dataclass(frozen=True)
class Space:
    """All dimensions, in the order of the file."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """The fields that are searched."""
        return [name for dimension in self.dimensions for name in dimension.names]

    def ranges(self) -> list[str]:
        """Fields with a range that has no end of values."""
        found = [d for d in self.dimensions if isinstance(d.of, Range) and not d.of.whole]
        return [name.rsplit(".", 1)[-1] for d in found for name in d.names]

    def random(self, seed: int, number: int) -> Values:
        """Draw `number`, from nothing but the seed: more draws change none before."""
        rng = random.Random(f"{seed}/{number}")
        return merged(dimension.draw(rng.random()) for dimension in self.dimensions)

    def grid(self) -> Iterator[Values]:
        """Every combination, the last dimension changing fastest."""
        return map(merged, itertools.product(*(d.all() for d in self.dimensions)))


def merged(parts: Any) -> Values:
    """One mapping of several."""
    return {name: value for part in parts for name, value in part.items()}


def parse_space(raw: Mapping[str, Any], *, settings: Collection[str]) -> tuple[Space, list[str]]:
    """The dimensions of a `sweep` section without its `settings`, and every fault of them."""
    dimensions: list[Dimension] = []
    faults: list[str] = []
    for key, told in raw.items():
        try:
            make = _pairs if key.startswith("_") else _single
            dimensions.append(make(key, told, settings))
        except ValueError as error:
            faults.append(str(error))
    space = Space(tuple(dimensions))
    names = space.names
    faults += [
        f"sweep.{name}: is searched twice; leave one of them out"
        for name in dict.fromkeys(n for n in names if names.count(n) > 1)
    ]
    if not raw:
        faults.append("sweep: searches nothing; name a field, e.g. learning_rate: [1e-4, 1e-3]")
    return space, faults


def _single(key: str, told: Any, settings: Collection[str]) -> Dimension:
    name = _field(key, settings)
    if isinstance(told, list):
        if not told:
            raise ValueError(f"sweep.{key}: [] has no values; list some, or leave it out")
        return Dimension((name,), Choice(tuple((value,) for value in told)))
    if not isinstance(told, dict):
        raise ValueError(
            f"sweep.{key}: {told!r} is no distribution; write [{told!r}, …] or {{min: …, max: …}}"
        )
    return Dimension((name,), _range(key, told, whole=_is_whole(name)))


def _range(key: str, told: dict[str, Any], *, whole: bool) -> Range:
    if extra := told.keys() - {"min", "max", "log"}:
        raise ValueError(
            f"sweep.{key}: {', '.join(map(str, sorted(extra)))} is unknown in a range; write "
            "{min: …, max: …, log: true}"
        )
    low, high = (_number(f"sweep.{key}.{end}", told.get(end)) for end in ("min", "max"))
    log = told.get("log", False)
    if low >= high:
        raise ValueError(f"sweep.{key}: min {low} to max {high} is empty; put max above min")
    if log and low <= 0:
        raise ValueError(f"sweep.{key}.min: {low} has no logarithm; put it above 0, or log: false")
    if whole and (low != int(low) or high != int(high)):
        raise ValueError(f"sweep.{key}: {low} to {high}, but the field takes whole numbers")
    return Range(low, high, bool(log), whole)


def _pairs(key: str, told: Any, settings: Collection[str]) -> Dimension:
    rows = told if isinstance(told, list) else []
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise ValueError(
            f"sweep.{key}: values that go together are a list of mappings, e.g. "
            "[{lora_r: 8, lora_alpha: 16}, {lora_r: 16, lora_alpha: 32}]"
        )
    keys = list(rows[0])
    if other := next((row for row in rows if row.keys() != rows[0].keys()), None):
        raise ValueError(
            f"sweep.{key}: {sorted(other)} beside {sorted(keys)}; give each the same keys"
        )
    names = tuple(_field(k, settings) for k in keys)
    return Dimension(names, Choice(tuple(tuple(row[k] for k in keys) for row in rows)))


def _field(key: str, settings: Collection[str]) -> str:
    name = find_leaf(key)
    if name is None:
        raise ValueError(unknown_in_sweep(key, settings))
    if name.split(".")[0] not in SECTIONS:
        raise ValueError(
            f"sweep.{key}: {name} changes the rows, the base or the questions, so that scores "
            f"could not be compared; fields of {' and '.join(SECTIONS)} are searched"
        )
    return name


def unknown_in_sweep(key: str, settings: Collection[str]) -> str:
    """What is wrong with a key of `sweep` that is neither a setting nor a field of the config."""
    if near := difflib.get_close_matches(key, list(settings), n=1, cutoff=0.8):
        return f"sweep.{key}: unknown key; did you mean sweep.{near[0]}?"
    return f"sweep.{unknown_key(key)}"


def _is_whole(name: str) -> bool:
    return next(field.annotation for leaf, field in leaves(Config) if leaf == name) is int


def _number(key: str, value: Any) -> float:
    # YAML 1.1 reads 1e-4, without a point, as a text.
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key}: {value!r} is no number; a range is {{min: …, max: …, log: true}}")
    return number


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
