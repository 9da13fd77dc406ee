"""Measure how many tokens of a step shared prefixes save, and which settings would save more.

train = open_split(directory, "train")
print(format_sharing(measure_sharing(train, task, template="chat", train_batch_size=16)))
    shared      steps of 16 rows: 30,816 of 214,416 tokens computed (7.0x fewer)
    more        about 8.1x with sampling=grouped sampling_group_size=9
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets_src.batching.plan import plan_run, prefix_units
from datasets_src.batching.trie import Ids, shared_lengths, sort_rows, trie_size
from datasets_src.prepared.store import Split
from datasets_src.types import Example, ExampleRenderer

# Limits of a measurement: steps, and rows (in whole groups) of the sample.
MAX_STEPS = 40
MAX_ROWS = 4_000
GROUP_SIZES = (3, 9)
# Smallest factor that is reported as a gain.
MIN_GAIN = 1.1


@dataclass(frozen=True)
class Sharing:
    """Tokens of some steps as separate rows and as prefix tries; `label` names the settings."""

    num_tokens: int
    num_packed_tokens: int
    label: str

    @property
    def ratio(self) -> float:
        """Factor by which fewer tokens are computed."""
        return self.num_tokens / self.num_packed_tokens


@dataclass(frozen=True)
class Steps:
    """Settings by which steps are built and packed."""

    train_batch_size: int
    min_share: int

    def measure(self, rows: Sequence[Ids], label: str, *, group_size: int | None = None) -> Sharing:
        """Measure the first steps of an epoch over `rows`.

        Args:
            rows: token ids of each row, [T] each.
            label: names the settings.
            group_size: rows per unit for sampling=grouped; None samples single rows.
        """
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
            chosen = [rows[i] for i in step.rows]
            ordered = [chosen[i] for i in sort_rows(chosen)]
            lengths = [len(row) for row in ordered]
            num_tokens += sum(lengths)
            num_packed += trie_size(lengths, shared_lengths(ordered), min_share=self.min_share)
        return Sharing(num_tokens, num_packed, label)

    def grouped(self, rows: Sequence[Ids], label: str) -> list[Sharing]:
        """Measure sampling=grouped, which keeps neighbours in prefix order in one step."""
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
    """The sharing of shuffled rows, then settings that share more, the best last.

    Args:
        train: the training rows.
        task: the task module, to find the order of the inputs in the prompt.
        template: "chat" or "plain".
        train_batch_size: rows per optimizer step.
        min_share: minimum length, in tokens, of a shared prefix that is computed once.
    """
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
        if sharing.ratio >= MIN_GAIN * kept[-1].ratio:
            kept.append(sharing)
    return kept


def format_sharing(found: Sequence[Sharing]) -> str:
    """Lines for the terminal, in the layout of `format_report`."""
    as_is, *more = found
    lines = [
        (
            "shared",
            f"{as_is.label}: {as_is.num_packed_tokens:,} of {as_is.num_tokens:,} tokens computed "
            f"({as_is.ratio:.1f}x fewer)",
        )
    ]
    for number, sharing in enumerate(more):
        lines.append(("" if number else "more", f"about {sharing.ratio:.1f}x with {sharing.label}"))
    return "\n".join(f"  {name:<12}{text}" for name, text in lines)


def _whole_groups(groups: Sequence[str]) -> list[int]:
    """Indices of a random sample of whole groups, at most MAX_ROWS unless one group is larger."""
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
    """Names of the inputs that occur in the prompt, in the order of the prompt."""
    if template == "plain":
        prompt = str(task.to_text(example)[0])
    else:
        prompt = "\n".join(message["content"] for message in task.to_messages(example))
    texts = {k: v for k, v in example.inputs.items() if isinstance(v, str) and v and v in prompt}
    return sorted(texts, key=lambda name: prompt.find(texts[name]))


def _reordered(
    examples: Sequence[Example], now: Sequence[str], steps: Steps, as_is: Sharing
) -> list[Sharing]:
    """Sharing with the prompt's inputs in the best order that a greedy search finds.

    Measured on characters of the inputs and the target, without the text of the template, and
    scaled to the sharing measured on the rows' tokens.
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
