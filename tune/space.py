"""The search space: a distribution for each config field, drawn as {field: value}.

learning_rate: {min: 1.0e-4, max: 1.0e-2, log: true}     a range; integers for an integer field
lora_r: [8, 16, 32]                                      choices; the values of a grid
_: [{train_batch_size: 8, learning_rate: 1.0e-3}, ...]   values drawn together (any _ key)
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
    """A choice of `values`, each a tuple with one value per name of the dimension."""

    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Range:
    """A uniform or log-uniform distribution between two limits."""

    low: float
    high: float
    log: bool
    integer: bool

    def at(self, quantile: float) -> float | int:
        """The value at a quantile in [0, 1]."""
        if self.integer:
            # Each integer has the same width, also the limits.
            low, high = self.low - 0.5, self.high + 0.5
            value = _between(max(low, 0.5) if self.log else low, high, quantile, log=self.log)
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return self.rounded(_between(self.low, self.high, quantile, log=self.log))

    def rounded(self, value: float) -> float:
        """Rounded to four digits: finer than scores can resolve, and readable."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Dimension:
    """Config fields, by their dotted names, whose values are drawn together."""

    names: tuple[str, ...]
    domain: Choice | Range

    def draw(self, quantile: float) -> Values:
        """The values at a quantile in [0, 1)."""
        if isinstance(self.domain, Range):
            return {self.names[0]: self.domain.at(quantile)}
        return self.values()[int(quantile * len(self.domain.values))]

    def values(self) -> list[Values]:
        """All choices, or all integers of a range; the limits of a continuous range."""
        if isinstance(self.domain, Choice):
            return [dict(zip(self.names, values, strict=True)) for values in self.domain.values]
        if self.domain.integer:
            low, high = int(self.domain.low), int(self.domain.high)
            return [{self.names[0]: n} for n in range(low, high + 1)]
        return self.limits()

    def limits(self) -> list[Values]:
        """All choices, or both limits of a range: valid exactly if all values are."""
        if isinstance(self.domain, Choice):
            return self.values()
        return [{self.names[0]: self.domain.at(0.0)}, {self.names[0]: self.domain.at(1.0)}]


@dataclass(frozen=True)
class Space:
    """All dimensions, in the order of the file."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> list[str]:
        """The fields that are searched."""
        return [name for dimension in self.dimensions for name in dimension.names]

    def ranges(self) -> list[str]:
        """Fields with a continuous range."""
        found = [d for d in self.dimensions if isinstance(d.domain, Range) and not d.domain.integer]
        return [name.rsplit(".", 1)[-1] for d in found for name in d.names]

    def random(self, seed: int, number: int) -> Values:
        """Draw `number` of a seed; it does not depend on other draws."""
        rng = random.Random(f"{seed}/{number}")
        return merged(dimension.draw(rng.random()) for dimension in self.dimensions)

    def grid(self) -> Iterator[Values]:
        """Every combination, the last dimension changing fastest."""
        return map(merged, itertools.product(*(d.values() for d in self.dimensions)))


def merged(parts: Any) -> Values:
    """One mapping from several."""
    return {name: value for part in parts for name, value in part.items()}


def parse_space(raw: Mapping[str, Any], *, settings: Collection[str]) -> tuple[Space, list[str]]:
    """The dimensions of a `sweep` section without its `settings`, and all faults in it."""
    dimensions: list[Dimension] = []
    faults: list[str] = []
    for key, value in raw.items():
        try:
            parse = _joint if key.startswith("_") else _single
            dimensions.append(parse(key, value, settings))
        except ValueError as error:
            faults.append(str(error))
    space = Space(tuple(dimensions))
    names = space.names
    faults += [
        f"sweep.{name}: is searched twice; remove one of the two"
        for name in dict.fromkeys(n for n in names if names.count(n) > 1)
    ]
    if not raw:
        faults.append("sweep: searches nothing; add a field, e.g. learning_rate: [1e-4, 1e-3]")
    return space, faults


def _single(key: str, value: Any, settings: Collection[str]) -> Dimension:
    name = _field(key, settings)
    if isinstance(value, list):
        if not value:
            raise ValueError(f"sweep.{key}: [] has no values; list some, or remove the key")
        return Dimension((name,), Choice(tuple((each,) for each in value)))
    if not isinstance(value, dict):
        raise ValueError(
            f"sweep.{key}: {value!r} is not a distribution; write [{value!r}, …] or "
            "{min: …, max: …}"
        )
    return Dimension((name,), _range(key, value, integer=_is_integer(name)))


def _range(key: str, value: dict[str, Any], *, integer: bool) -> Range:
    if extra := value.keys() - {"min", "max", "log"}:
        raise ValueError(
            f"sweep.{key}: {', '.join(map(str, sorted(extra)))} is not a key of a range; write "
            "{min: …, max: …, log: true}"
        )
    low, high = (_number(f"sweep.{key}.{limit}", value.get(limit)) for limit in ("min", "max"))
    log = value.get("log", False)
    if low >= high:
        raise ValueError(f"sweep.{key}: min {low} to max {high} is empty; set max above min")
    if log and low <= 0:
        raise ValueError(f"sweep.{key}.min: {low} has no logarithm; set min above 0, or log: false")
    if integer and (low != int(low) or high != int(high)):
        raise ValueError(
            f"sweep.{key}: {low} to {high}, but the field takes integers; set integers"
        )
    return Range(low, high, bool(log), integer)


def _joint(key: str, value: Any, settings: Collection[str]) -> Dimension:
    rows = value if isinstance(value, list) else []
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise ValueError(
            f"sweep.{key}: values drawn together are a list of mappings, e.g. "
            "[{lora_r: 8, lora_alpha: 16}, {lora_r: 16, lora_alpha: 32}]"
        )
    keys = list(rows[0])
    if other := next((row for row in rows if row.keys() != rows[0].keys()), None):
        raise ValueError(
            f"sweep.{key}: {sorted(other)} and {sorted(keys)} differ; give each the same keys"
        )
    names = tuple(_field(k, settings) for k in keys)
    return Dimension(names, Choice(tuple(tuple(row[k] for k in keys) for row in rows)))


def _field(key: str, settings: Collection[str]) -> str:
    name = find_leaf(key)
    if name is None:
        raise ValueError(unknown_in_sweep(key, settings))
    if name.split(".")[0] not in SECTIONS:
        raise ValueError(
            f"sweep.{key}: {name} changes the rows, the base or the prompts, so that scores could "
            f"not be compared; search fields of {' and '.join(SECTIONS)}"
        )
    return name


def unknown_in_sweep(key: str, settings: Collection[str]) -> str:
    """The error for a key of `sweep` that is neither a setting nor a config field."""
    if near := difflib.get_close_matches(key, list(settings), n=1, cutoff=0.8):
        return f"sweep.{key}: unknown key; did you mean sweep.{near[0]}?"
    return f"sweep.{unknown_key(key)}"


def _is_integer(name: str) -> bool:
    return next(field.annotation for leaf, field in leaves(Config) if leaf == name) is int


def _number(key: str, value: Any) -> float:
    # YAML 1.1 reads 1e-4, without a point, as a string.
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"{key}: {value!r} is not a number; a range is {{min: …, max: …, log: true}}"
        )
    return number


def _between(low: float, high: float, quantile: float, *, log: bool) -> float:
    if log:
        return math.exp(math.log(low) + quantile * (math.log(high) - math.log(low)))
    return low + quantile * (high - low)
