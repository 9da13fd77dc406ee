"""Collects the rows of a build and what was dropped and why, and checks the whole set.

results = Results(config, kind)
results.add([row, Dropped("12:488", "empty answer", is_bad=True)])
results.check_bad(num_items=2_200)      UserError: more faulty items than max_bad_items
results.check_dependence()              UserError: outputs that do not depend on their rows
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.bad_rows import shorten
from datasets_src.recipes.config import RecipeConfig
from datasets_src.recipes.contract import TEACHER, Dropped, Item, Row
from datasets_src.recipes.dataset import Record, part_of, parts_in_order
from datasets_src.recipes.dependence import Dependence, Made, check_dependence
from datasets_src.recipes.lengths import Measure, histogram, shares_above, too_long, too_short

SHOWN = 3


class Results:
    """The rows, in the order of the items."""

    def __init__(self, config: RecipeConfig, kind: ModuleType) -> None:
        self.rows: list[Row] = []
        self.dropped: dict[str, list[Dropped]] = {}
        self.dependence: Dependence | None = None
        self._config, self._kind = config, kind
        self._lengths: list[Mapping[str, int]] = []  # per row: tokens of each field

    def add(self, made: Sequence[Row | Dropped]) -> None:
        """Add the output of one item."""
        for one in made:
            if isinstance(one, Row):
                self.rows.append(one)
            else:
                self.dropped.setdefault(one.reason, []).append(one)

    def check_bad(self, num_items: int) -> None:
        """Raise UserError if too many items are faulty or no row is left."""
        self._refuse([one for d in self.dropped.values() for one in d if one.is_bad], num_items)
        if not self.rows:
            reasons = ", ".join(f"{len(d):,}: {reason}" for reason, d in self.dropped.items())
            raise UserError(f"options: 0 rows left of {num_items:,} items ({reasons})")

    def check_material(self, items: Sequence[Item | Dropped]) -> None:
        """The same check on the material alone, before the first paid request."""
        bad = [item for item in items if isinstance(item, Dropped) and item.is_bad]
        self._refuse(bad, len(items))

    def _refuse(self, bad: Sequence[Dropped], num_items: int) -> None:
        num = len({one.id for one in bad})
        limit, total = self._config.max_bad_items, max(num_items, num)
        if num > limit * total:
            share = -(-10_000 * num // total) / 10_000
            remedy = f" or set max_bad_items={share:g}" if share < 1 else ""
            raise UserError(
                f"max_bad_items: {num:,} of {total:,} items are at fault, more than the"
                f" {100 * limit:g} % allowed: {_summary(bad)}; fix them{remedy}"
            )

    def prune(self, measure: Measure) -> None:
        """Drop rows that exceed the length limits."""
        output, config = self._kind.OUTPUT, self._config.lengths
        kept: list[Row] = []
        for row, lengths in zip(self.rows, _measure(self.rows, measure), strict=True):
            reason = too_long(lengths, output, config)
            if row.fields[output] is not None:
                reason = reason or too_short(row.fields, lengths, output, config)
            if reason:
                self.add([Dropped(row.id, reason)])
            else:
                kept.append(row)
                self._lengths.append(lengths)
        if not kept:
            raise UserError(
                f"lengths: none of {len(self.rows):,} rows is within the limits"
                f" ({', '.join(self.dropped)}); raise them"
            )
        self.rows = kept

    def check_dependence(self) -> None:
        """Raise UserError if teacher outputs do not depend on their rows."""
        repeated = [id for id, num in Counter(row.id for row in self.rows).items() if num > 1]
        assert not repeated, f"repeated row ids: {repeated[:SHOWN]}"
        made = [
            Made(
                row.id,
                given="\n".join(_text(row.fields[name]) for name in self._kind.DEPENDS_ON),
                output=_text(row.fields[self._kind.OUTPUT]),
                group=row.group,
            )
            for row in self.rows
            if row.origin == TEACHER
        ]
        self.dependence = check_dependence(made, self._config.dependence)
        if self.dependence.faults:
            raise UserError(*self.dependence.faults)

    def record(
        self, *, recipe_hash: str, teacher: Mapping[str, Any] | None, report: Mapping[str, Any]
    ) -> Record:
        """The contents of build.json: counts, origins, licences, drops and lengths."""
        rows, kind = self.rows, self._kind
        parts = [part_of(row, kind.OUTPUT) for row in rows]
        names, found = parts_in_order(set(parts)), self.dependence
        assert found is not None
        groups = {(part, row.group) for part, row in zip(parts, rows, strict=True)}
        num_rows, num_groups = Counter(parts), Counter(part for part, _ in groups)
        licenses = Counter(row.license or kind.LICENSE for row in rows)
        return {
            "build_name": self._config.build_name,
            "kind": self._config.kind,
            "task": kind.TASK,
            "recipe_hash": recipe_hash,
            "license": kind.LICENSE,
            "num_rows": {name: num_rows[name] for name in names},
            "num_groups": {name: num_groups[name] for name in names},
            "origins": dict(sorted(Counter(row.origin for row in rows).items())),
            "licenses": dict(sorted(licenses.items())),
            "num_sources": len({source for row in rows for source in row.sources}),
            "teacher": teacher,
            "dependence": {
                "num_rows": found.num_rows,
                "same_outputs": found.same_outputs,
                "dependent": found.dependent,
            },
            "dropped": [
                {"reason": reason, "num": len(d), "examples": [_example(one) for one in d[:SHOWN]]}
                for reason, d in sorted(self.dropped.items())
            ],
            "report": dict(report),
            "lengths": self._lengths_record(),
        }

    def _lengths_record(self) -> dict[str, Any]:
        output, config = self._kind.OUTPUT, self._config.lengths
        inputs = [sum(n for name, n in row.items() if name != output) for row in self._lengths]
        outputs = [
            lengths[output]
            for row, lengths in zip(self.rows, self._lengths, strict=True)
            if row.fields[output] is not None
        ]
        within = config.published_within.items()
        compared = [
            num
            for num, row in zip(inputs, self._lengths, strict=True)
            if all(row.get(name, 0) <= limit for name, limit in within)
        ]
        above = shares_above(compared, list(config.published))
        method = (
            "by the recipe's tokenizer"
            if config.tokenizer
            else f"estimated at {config.text_chars_per_token:g} characters each, of JSON"
            f" {config.json_chars_per_token:g}"
        )
        return {
            "how": method,
            "inputs": histogram(inputs),
            "outputs": histogram(outputs),
            "beside": [  # the published lengths
                {"tokens": tokens, "here": above[tokens], "published": share}
                for tokens, share in config.published.items()
            ],
        }


def _measure(rows: Sequence[Row], measure: Measure) -> Iterator[dict[str, int]]:
    for row in rows:
        names = list(row.fields)
        lengths = measure([_text(row.fields[name]) for name in names])
        yield dict(zip(names, lengths, strict=True))


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _example(one: Dropped) -> str:
    return f"{one.id} ({shorten(one.detail, 100)})" if one.detail else one.id


def _summary(bad: Sequence[Dropped]) -> str:
    """The most frequent reasons, each with its count and first example."""
    first = {one.reason: one for one in reversed(bad)}
    reasons = Counter(one.reason for one in bad).most_common()
    shown = ", ".join(
        f"{num:,} {reason}: {_example(first[reason])}" for reason, num in reasons[:SHOWN]
    )
    return shown + (", …" if len(reasons) > SHOWN else "")
