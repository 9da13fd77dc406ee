"""How much of a step's prompts is shared, as the data are and as they could be.

train = open_split(directory, "train")
print(format_sharing(measure_sharing(train, task, template="chat", train_batch_size=16)))
    shared      steps of 16 rows: 214,416 tokens are computed as 30,816 (7.0x)
    more        8.1x with sampling=grouped sampling_group_size=9
                about 2.4x with the inputs in the order description, context, prompt
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_src.batching.plan import plan_run, prefix_units
from datasets_src.batching.trie import Ids, shared_lengths, sort_rows, trie_size
from datasets_src.prepared.store import Split
from datasets_src.types import Example, ExampleRenderer

# Steps that are measured, and rows, in whole groups, among which better ways are looked for.
MAX_STEPS = 40
MAX_ROWS = 4_000
GROUP_SIZES = (3, 9)
# What is told as a gain at least.
WORTH = 1.1


@dataclass(frozen=True)
class Sharing:
    """Tokens of some steps as rows and as tries, and how the steps were made."""

    num_tokens: int
    num_packed_tokens: int
    label: str

    @property
    def ratio(self) -> float:
        """How many times fewer tokens are computed."""
        return self.num_tokens / self.num_packed_tokens


@dataclass(frozen=True)
class Steps:
    """How steps are made and packed."""

    train_batch_size: int
    min_share: int

    def measure(self, rows: Sequence[Ids], label: str, *, group_size: int | None = None) -> Sharing:
        """The first steps of an epoch over `rows`."""
        plan = plan_run(
            len(rows),
            seed=0,
            num_epochs=1,
            max_steps=MAX_STEPS,
            train_batch_size=self.train_batch_size,
            units=None if group_size is None else prefix_units(rows, group_size),
        )
        num_tokens = num_packed = 0
        for step in plan:
            mine = [rows[i] for i in step.rows]
            mine = [mine[i] for i in sort_rows(mine)]
            lengths = [len(row) for row in mine]
            num_tokens += sum(lengths)
            num_packed += trie_size(lengths, shared_lengths(mine), min_share=self.min_share)
        return Sharing(num_tokens, num_packed, label)

    def grouped(self, rows: Sequence[Ids], label: str) -> list[Sharing]:
        """The same with neighbours in prefix order kept together."""
        return [
            self.measure(
                rows, f"{label}sampling=grouped sampling_group_size={size}", group_size=size
            )
            for size in GROUP_SIZES
            if size <= self.train_batch_size and size < len(rows)
        ]


def measure_sharing(
    train: Split, task: ExampleRenderer, *, template: str, train_batch_size: int, min_share: int = 8
) -> list[Sharing]:
    """What the shuffled rows share, then what would share more, the best last."""
    steps = Steps(train_batch_size, min_share)
    sample = _whole_groups(train.groups)
    rows = [np.array(train.tokens(i).input_ids) for i in sample]
    as_is = steps.measure(rows, f"steps of {min(train_batch_size, len(rows))} rows")
    more = steps.grouped(rows, "")
    fields = _prompt_fields(train.example(sample[0]), task, template)
    if len(fields) > 1:
        more += _reordered([train.example(i) for i in sample], fields, steps, as_is)
    kept = [as_is]
    for sharing in sorted(more, key=lambda s: s.ratio):
        if sharing.ratio >= WORTH * kept[-1].ratio:
            kept.append(sharing)
    return kept


def format_sharing(found: Sequence[Sharing]) -> str:
    """Lines for a terminal, in the form of `format_report`."""
    as_is, *more = found
    lines = [
        (
            "shared",
            f"{as_is.label}: {as_is.num_tokens:,} tokens are computed as "
            f"{as_is.num_packed_tokens:,} ({as_is.ratio:.1f}x)",
        )
    ]
    for number, sharing in enumerate(more):
        lines.append(("" if number else "more", f"about {sharing.ratio:.1f}x with {sharing.label}"))
    return "\n".join(f"  {name:<12}{text}" for name, text in lines)


def _whole_groups(groups: Sequence[str]) -> list[int]:
    """Rows of randomly chosen groups, each whole, MAX_ROWS of them at the most."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    kept: list[int] = []
    names = list(members)
    for index in np.random.Generator(np.random.PCG64(0)).permutation(len(names)):
        if kept and len(kept) + len(members[names[index]]) > MAX_ROWS:
            break
        kept += members[names[index]]
    return sorted(kept)


def _prompt_fields(example: Example, task: ExampleRenderer, template: str) -> list[str]:
    """Names of the inputs that stand in the prompt, in its order."""
    if template == "plain":
        prompt = str(task.to_text(example)[0])
    else:
        prompt = "\n".join(message["content"] for message in task.to_messages(example))
    texts = {k: v for k, v in example.inputs.items() if isinstance(v, str) and v and v in prompt}
    return sorted(texts, key=lambda name: prompt.find(texts[name]))


def _reordered(
    examples: Sequence[Example], now: Sequence[str], steps: Steps, as_is: Sharing
) -> list[Sharing]:
    """The prompt's inputs in the best order that is found one place at a time.

    Measured on characters of the inputs and the target, without the text around them, and scaled
    to what the rows' tokens share as they are.
    """
    size = min(GROUP_SIZES[-1], steps.train_batch_size)

    def ratio(order: Sequence[str]) -> float:
        return steps.measure(_characters(examples, order), "", group_size=size).ratio

    best: list[str] = []
    while rest := [name for name in now if name not in best]:
        best.append(max(rest, key=lambda n: ratio([*best, n, *(r for r in rest if r != n)])))
    if best == list(now):
        return []
    scale = as_is.ratio / steps.measure(_characters(examples, now), "").ratio
    label = f"the inputs in the order {', '.join(best)}"
    rows = _characters(examples, best)
    found = [steps.measure(rows, label), *steps.grouped(rows, f"{label} and ")]
    return [
        Sharing(as_is.num_tokens, round(as_is.num_tokens / max(1.0, s.ratio * scale)), s.label)
        for s in found
    ]


def _characters(examples: Sequence[Example], order: Sequence[str]) -> list[NDArray[np.uint32]]:
    texts = (
        "\n".join([*(str(e.inputs.get(name, "")) for name in order), e.target]) for e in examples
    )
    return [np.frombuffer(text.encode("utf-32-le"), "<u4") for text in texts]
