"""The dataset card of a build: README.md with the Hub's YAML front matter, then the statistics.

    ---
    configs:
    - config_name: default
      data_files:
      - {split: train, path: data/train.parquet}
    license: cc-by-4.0
    ...

It has no times and no paths, so the same result gives the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

# Licence identifiers of the Hub: https://huggingface.co/docs/hub/repositories-licenses
HUB_LICENSES = {
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
    *("cc-by-sa-4.0", "cc-by-nc-4.0", "agpl-3.0", "gpl-3.0", "odc-by", "pddl"),
}
BAR = 40


def card_text(record: Mapping[str, Any]) -> str:
    """Render the card from a record (build.json)."""
    return "\n".join([*_front_matter(record), *_counts(record), *_lengths(record), *_use(record)])


def _front_matter(record: Mapping[str, Any]) -> Iterator[str]:
    files = [{"split": name, "path": f"data/{name}.parquet"} for name in record["num_rows"]]
    names = [name.lower() for name in record["licenses"]]
    known = len(names) == 1 and names[0] in HUB_LICENSES
    meta = {
        "configs": [{"config_name": "default", "data_files": files}],
        "license": names[0] if known else "other",
        "tags": ["gallipato", record["kind"], record["task"]],
    }
    yield f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---\n"


def _counts(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {record['build_name']}\n"
    yield (
        f"Rows for the task `{record['task']}`, built by the recipe kind `{record['kind']}`"
        f" (recipe `{record['recipe_hash'][:16]}`).\n"
    )
    yield from _table(("split", "rows", "groups"), _splits(record))
    origins = [(name, f"{num:,}") for name, num in record["origins"].items()]
    yield from _table(("origin of the output", "rows"), origins)
    licenses = [(name, f"{num:,}") for name, num in record["licenses"].items()]
    yield from _table(("licence", "rows"), licenses)
    if teacher := record["teacher"]:
        yield (
            f"Teacher: {teacher['model']}, {teacher['num_answers']:,} answers,"
            f" {teacher['prompt_tokens']:,} prompt tokens and {teacher['completion_tokens']:,}"
            " completion tokens.\n"
        )
        yield f"{_dependence(record['dependence'])}\n"
    if record["dropped"]:
        rows = [(d["reason"], f"{d['num']:,}", ", ".join(d["examples"])) for d in record["dropped"]]
        yield from _table(("left out", "number", "examples"), rows)
    if record["report"]:
        report = yaml.safe_dump(record["report"], sort_keys=False, allow_unicode=True)
        yield f"Report on the material:\n\n```yaml\n{report}```\n"


def _splits(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    groups = record["num_groups"]
    return [(name, f"{num:,}", f"{groups[name]:,}") for name, num in record["num_rows"].items()]


def _dependence(found: Mapping[str, Any]) -> str:
    share = found["dependent"]
    dependent = "too few to test" if share is None else f"{100 * share:.0f} %"
    return (
        f"Of {found['num_rows']:,} teacher outputs, {100 * found['same_outputs']:.1f} % repeat that"
        f" of another row; {dependent} depend on their own row."
    )


def _lengths(record: Mapping[str, Any]) -> Iterator[str]:
    lengths = record["lengths"]
    yield f"## Lengths\n\nIn tokens, {lengths['how']}.\n"
    for name in ("inputs", "outputs"):
        bins = lengths[name]
        most = max([*bins["counts"], 1])
        yield f"```\n{name}"
        for low, high, num in zip(bins["edges"], bins["edges"][1:], bins["counts"], strict=False):
            bar = "#" * -(-BAR * num // most)
            yield f"{low:>6,} to {high - 1:>6,} {num:>8,} {bar}".rstrip()
        yield "```\n"
    if lengths["beside"]:
        rows = [
            (
                f"more than {row['tokens']:,}",
                f"{100 * row['here']:.1f} %",
                f"{100 * row['published']:.1f} %",
            )
            for row in lengths["beside"]
        ]
        yield from _table(("inputs, tokens", "here", "published"), rows)


def _use(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Use\n"
    yield "Each row has its `sources`, its `license`, how its output was made (`origin`) and the"
    yield "hash of its recipe (`recipe_hash`).\n"
    yield f"```yaml\ndata:\n  task: {record['task']}\n  train_file: data/train.parquet"
    if "validation" in record["num_rows"]:
        yield "  validation_file: data/validation.parquet"
    yield "```\n"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
    yield ""
