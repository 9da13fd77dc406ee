"""Checks that outputs depend on their rows: nothing else reveals a prompt without the row.

made = [Made("7", given="La nutria de Ribalta mide 24 cm.", output="¿Cuánto mide la nutria?")]
check_dependence(made, DependenceLimits()).faults       one line per failed test

Two tests over the finished set. **Same outputs**: the share of rows whose output equals or nearly
equals (Jaccard similarity of word trigrams, sketch.py) that of a row with another input and another
group; paraphrases may share their answer.
**Shuffled inputs**: a row wins if its output shares more rare words with its own input than with
that of a random other row. Outputs that ignore their rows win by chance, so wins minus losses, as a
share of the rows, estimates how many depend on their row. (A project lost 1,601 questions to a
converter that formatted one hard-coded sentence: no two were equal, and none shared more words with
its own row than with another.)
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

MIN_ROWS = 8  # with fewer, all wins could be luck (2**-8)
NEAR = 0.8
MAX_COMPARED = 8  # candidates that share a sketch band and are compared with a row
SHOWN = 3
STEM = 6  # letters of a word that count, so that inflected forms match
_WORD = re.compile(r"\w{3,}|\d+")


class DependenceLimits(Section):
    """`dependence:` of a recipe."""

    max_same_outputs: float = Field(
        0.2, ge=0, le=1, description="max share of teacher rows with the output of another row"
    )
    same_from: float = Field(
        NEAR,
        gt=0,
        le=1,
        description="similarity from which two outputs count as the same; 1: equal, for SQL",
    )
    min_dependent: float = Field(
        0.3,
        ge=0,
        le=1,
        description="min share of teacher rows that match their own row better than another",
    )


@dataclass(frozen=True)
class Made:
    """A row's output and the input it must depend on. Rows of a group may share an output."""

    id: str
    given: str
    output: str
    group: str = ""


@dataclass(frozen=True)
class Dependence:
    """Shares of `num_rows`; `dependent` is None if the rows are too few for the test."""

    num_rows: int
    same_outputs: float
    dependent: float | None
    faults: tuple[str, ...]


def check_dependence(made: Sequence[Made], limits: DependenceLimits) -> Dependence:
    """Run both tests; `faults` has one line, with examples, per failed test."""
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
            " prompt, or raise max_same_outputs if the rows are that similar"
        )
    if dependent is not None and dependent < limits.min_dependent:
        faults.append(
            f"dependence.min_dependent: {100 * max(0.0, dependent):.0f} % of {len(made):,} taught"
            f" outputs share more with their own row than with another, less than the"
            f" {100 * limits.min_dependent:g} % needed: {_show(made, unmoved)}; fix the prompt, or"
            " lower min_dependent if outputs need not repeat words of their row"
        )
    return Dependence(len(made), same, dependent, tuple(faults))


def _same_outputs(made: Sequence[Made], same_from: float) -> Iterator[tuple[int, int]]:
    """Pairs (row, a row with the same output and another input), one per row that has one."""
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
            # Start behind the row and wrap, so that rows are not all compared with the same ones.
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
    """Wins minus losses as a share of the rows, and the indices of rows that did not win."""
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
