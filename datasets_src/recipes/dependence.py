"""Whether outputs change with their rows; a teacher that was never shown the row does not tell.

faults = dependence_faults(made, limits)
made: [Made("7", given="La nutria de Ribalta mide 24 cm.", output="¿Cuánto mide la nutria?"), ...]

Two tests over the finished set. **Same outputs**: rows whose output is, exactly or nearly (Jaccard
similarity of runs of three words, sketch.py), that of a row that was given something else and is of
another group: paraphrases may share their answer.
**Shuffled inputs**: a row depends on what it was given if its output has more rare words in common
with that than with what another row was given. Where outputs ignore their rows this is a coin toss,
so of the rows the wins less the losses is about the share that does depend. (A project lost 1,601
questions to a converter that formatted one hard-coded sentence: no two were equal, and not one had
a word of its own row more than of another's.)
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from pydantic import Field

from datasets_src.config import Section
from datasets_src.prepared.sketch import fold, jaccard, shingles, sketch
from datasets_src.reading.bad_rows import shorten

MIN_ROWS = 8  # fewer wins in a row than these could be luck (2**-8)
NEAR = 0.8
MAX_COMPARED = 8  # rows with a band in common that are compared with a row
SHOWN = 3
STEM = 6  # letters of a word that count, so that inflected forms are one
_WORD = re.compile(r"\w{3,}|\d+")


class DependenceLimits(Section):
    """`dependence:` of a recipe."""

    max_same_outputs: float = Field(
        0.2, ge=0, le=1, description="share of taught rows with the output of another row"
    )
    same_from: float = Field(
        NEAR, gt=0, le=1, description="likeness of two outputs that are one; 1: equal, as of SQL"
    )
    min_dependent: float = Field(
        0.3, ge=0, le=1, description="share of taught rows that tell their own row from another"
    )


@dataclass(frozen=True)
class Made:
    """A row's output, and what it must depend on. Rows of a group may have one output."""

    id: str
    given: str
    output: str
    group: str = ""


@dataclass(frozen=True)
class Dependence:
    """What was found: shares of `num_rows`; `dependent` is None where they are too few to tell."""

    num_rows: int
    same_outputs: float
    dependent: float | None
    faults: tuple[str, ...]


def check_dependence(made: Sequence[Made], limits: DependenceLimits) -> Dependence:
    """Both tests. `faults` has a line, with examples, for each that fails."""
    if not made:
        return Dependence(0, 0.0, None, ())
    twins = dict(_same_outputs(made, limits.same_from))
    same = len(twins) / len(made)
    dependent, unmoved = _dependent(made)
    faults = []
    if same > limits.max_same_outputs:
        faults.append(
            f"dependence.max_same_outputs: {len(twins):,} of {len(made):,} taught rows have the"
            f" output of a row that was given something else, more than the"
            f" {100 * limits.max_same_outputs:g} % allowed: {_show_twins(made, twins)}; fix the"
            " prompt, or raise max_same_outputs where the rows are so alike"
        )
    if dependent is not None and dependent < limits.min_dependent:
        faults.append(
            f"dependence.min_dependent: {100 * max(0.0, dependent):.0f} % of {len(made):,} taught"
            f" outputs have more of their own row than of another, less than the"
            f" {100 * limits.min_dependent:g} % needed: {_show(made, unmoved)}; fix the prompt, or"
            " lower min_dependent where outputs need not repeat a word"
        )
    return Dependence(len(made), same, dependent, tuple(faults))


def _same_outputs(made: Sequence[Made], same_from: float) -> Iterator[tuple[int, int]]:
    """(row, a row with its output that was given something else) for all rows that have one."""
    outputs = [shingles(fold([row.output])) for row in made]
    givens = [shingles(fold([row.given])) for row in made]
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    bands = [sketch(fold([row.output]))[1].tolist() for row in made]
    for index, row_bands in enumerate(bands):
        for band in enumerate(row_bands):
            buckets[band].append(index)
    for index, row_bands in enumerate(bands):
        candidates: Counter[int] = Counter()
        for band in enumerate(row_bands):
            # From behind the row on, round the end: not all rows are compared with the same ones.
            bucket = buckets[band]
            at = bucket.index(index) if len(bucket) <= MAX_COMPARED else index % len(bucket)
            candidates.update((bucket[at + 1 :] + bucket[:at])[:MAX_COMPARED])
        for other, _ in candidates.most_common(MAX_COMPARED):
            group = made[index].group
            if other == index or (group and group == made[other].group):
                continue
            alike = jaccard(outputs[index], outputs[other]) >= same_from
            if alike and jaccard(givens[index], givens[other]) < NEAR:
                yield index, other
                break


def _dependent(made: Sequence[Made]) -> tuple[float | None, list[int]]:
    """Wins less losses as a share of the rows, and the rows that did not win."""
    givens = [_words(row.given) for row in made]
    num_with = Counter(word for words in givens for word in words)
    distinct = {row.given for row in made}
    if len(distinct) < MIN_ROWS:
        return None, []
    rng, balance, unmoved = Random(0), 0, []
    for index, row in enumerate(made):
        other = rng.randrange(len(made))
        while made[other].given == row.given:
            other = rng.randrange(len(made))
        words = _words(row.output)
        own, foreign = (
            sum(math.log(len(made) / num_with[word]) for word in words & given)
            for given in (givens[index], givens[other])
        )
        balance += (own > foreign) - (own < foreign)
        if own <= foreign:
            unmoved.append(index)
    return balance / len(made), unmoved


def _words(text: str) -> set[str]:
    return {word[:STEM] for word in _WORD.findall(text.casefold())}


def _show_twins(made: Sequence[Made], twins: dict[int, int]) -> str:
    shown = list(twins.items())[:SHOWN]
    return ", ".join(
        f"{made[a].id} and {made[b].id} are both {shorten(made[a].output, 60)!r}" for a, b in shown
    )


def _show(made: Sequence[Made], indices: Sequence[int]) -> str:
    return ", ".join(
        f"{made[i].id} was given {shorten(made[i].given, 60)!r}, has"
        f" {shorten(made[i].output, 60)!r}"
        for i in indices[:SHOWN]
    )
