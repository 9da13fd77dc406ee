"""Prefix sharing as reported by `prepare`: measured on real steps, with settings that gain."""

from pathlib import Path

import pyarrow as pa
import pytest

from datasets_src.prepared.sharing import Sharing, format_sharing, measure_sharing
from datasets_src.prepared.store import Split, SplitWriter, encode_example
from datasets_src.types import Example, ExampleRenderer
from tests.benchmarks.step import description_rows


def split_of(folder: Path, examples: list[Example], task: ExampleRenderer) -> Split:
    """A prepared file of the examples, characters as tokens."""
    writer = SplitWriter(folder / "train.parquet", {})
    rows = []
    for example in examples:
        prompt, target = task.to_text(example)
        ids = [ord(c) for c in prompt + target]
        rows.append(
            {
                "id": example.id,
                "group": example.group,
                "length": len(ids),
                "prompt_len": len(prompt),
                "input_ids": ids,
                "example": encode_example(example, {})[0],
            }
        )
    writer.write(pa.Table.from_pylist(rows))
    writer.close()
    return Split(folder / "train.parquet", "train")


def described(num_species: int, num_prompts: int) -> list[Example]:
    """A prompt before a long text that other rows have too, as in the authors' order."""
    return [
        Example(
            id=f"{s}-{p}",
            group=str(s),
            inputs={
                "prompt": f"{p} deseo del usuario",
                "description": f"descripción {s} " + "larga " * 30,
                "science": "",
                "context": "[]",
            },
            target=f"texto {s} {p}",
        )
        for s in range(num_species)
        for p in range(num_prompts)
    ]


def test_a_better_order_and_grouping_are_found(tmp_path: Path) -> None:
    train = split_of(tmp_path, described(40, 9), description_rows)
    found = measure_sharing(train, description_rows, train_batch_size=9, template="plain")
    as_is, *more = found
    assert as_is.ratio < 1.3
    assert [s.ratio for s in found] == sorted(s.ratio for s in found)
    best = more[-1]
    assert best.ratio > 3 and "sampling=grouped sampling_group_size=9" in best.label
    assert "description" in best.label
    assert best.label.index("description") < best.label.index("prompt")
    lines = format_sharing(found).splitlines()
    assert lines[0].startswith("  shared      steps of 9 rows: ") and "more" in lines[1]


def test_the_figure_is_the_one_of_the_packed_steps(tmp_path: Path) -> None:
    """All rows in one step: the trie can be counted by hand."""
    examples = [
        Example(
            str(i),
            str(i),
            {"prompt": "igual " * 20, "description": "", "science": "", "context": ""},
            f"{i}" * 3,
        )
        for i in range(4)
    ]
    train = split_of(tmp_path, examples, description_rows)
    [found] = measure_sharing(train, description_rows, train_batch_size=8, template="plain")
    prompt = len(description_rows.to_text(examples[0])[0])
    end = len(description_rows.to_text(examples[0])[1])
    assert found == Sharing(4 * (prompt + end), prompt + 4 * end, "steps of 4 rows")
    assert found.ratio == pytest.approx(4 * (prompt + end) / (prompt + 4 * end))
