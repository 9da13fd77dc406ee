"""Greedy replies compared with `model.generate` in padded batches of 8, in turns.

    python -m tests.benchmarks.bench_generate      # last line: one JSON object

The 21 validation prompts of BioSenda's text-to-SQL rows (where they are absent, 21 that ship), 4 of
Salamandra-2b's 24 layers in bfloat16: once with a sixth of its vocabulary too, so that the head has
the share of the work that it has in the full model, once with all of it.

Weights are random, so the replies of both sides are forced: every forward pass and argmax is
computed, then the row's reference SQL is continued instead, to its end. So replies have the lengths
and repetitions of the task. `generate` also stops each row at its end, and a batch at its last row.
`prompt_s` is the time up to first tokens, `reply_s` the rest; `without_drafts` is our side without
speculative decoding.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from datasets_src.batching.trie import shared_lengths, sort_rows, trie_size
from datasets_src.chat.tokenise import open_tokenizer, plain_tokens, read_format
from datasets_src.types import TokenizedExample
from tests.benchmarks.step.models import SHAPES, make_base
from tests.benchmarks.step.rows import Rows, relabel, sql_texts
from trainers.generation.decode import MAX_DRAFT, decode
from trainers.generation.forward import ReplyToken, most_likely
from trainers.models.load import compute_dtype, load_base

NUM_ROWS, ROUNDS = 21, 2
BATCH_SIZES = {"ours": 32, "generate": 8}
VOCABULARIES = {"share_of_vocabulary": SHAPES["2b"].vocab, "whole_vocabulary": 256_000}
Replies = list[list[int]]


@dataclass(frozen=True)
class Dialogues:
    """Prompts, the forced reply to each, and the token that ends every reply."""

    prompts: Replies
    replies: Replies
    end: int

    @classmethod
    def of(cls, rows: Sequence[TokenizedExample]) -> "Dialogues":
        """From rows that all end with the same token."""
        [end] = {row.input_ids[-1] for row in rows}
        prompts = [list(row.input_ids[: row.prompt_len]) for row in rows]
        return cls(prompts, [list(row.input_ids[row.prompt_len :]) for row in rows], end)


class Clock:
    """Wall and CPU seconds of a side, wall seconds up to first tokens, number of later passes."""

    def __init__(self) -> None:
        self.prompt_s, self.reply_passes = 0.0, 0
        self._last = self._start = time.perf_counter()
        self._cpu = time.process_time()

    def tick(self, *, is_first: bool) -> None:
        """Record a pass that emitted tokens: the first ones of their replies, or later ones."""
        now = time.perf_counter()
        if is_first:
            self.prompt_s += now - self._last
        else:
            self.reply_passes += 1
        self._last = now

    def read(self) -> dict[str, float]:
        """The measurements so far."""
        wall_s, cpu_s = time.perf_counter() - self._start, time.process_time() - self._cpu
        reply_s = wall_s - self.prompt_s
        return {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "prompt_s": self.prompt_s,
            "reply_s": reply_s,
            "reply_passes": self.reply_passes,
        }


def load_rows(folder: Path) -> tuple[str, list[TokenizedExample]]:
    """The rows' source, and the validation rows, by the tokenizer of bench_step.py."""
    source = Rows.load(folder).source
    known = {"real": ("biosenda_text2sql", "test"), "invented": ("quickstart", "validation")}
    name, split = known[source]
    fmt = read_format(folder, "plain")
    made = plain_tokens(fmt, open_tokenizer(fmt), sql_texts(name, split)[:NUM_ROWS])
    return source, [
        TokenizedExample(str(i), "", tuple(row.input_ids), row.prompt_len)
        for i, row in enumerate(made)
    ]


@torch.inference_mode()
def ours(model: Any, rows: Dialogues, clock: Clock, *, max_draft: int) -> Replies:
    """Replies as trainers/generation/greedy.py makes them, except that tokens are forced."""

    def pick(logits_NV: Tensor, which: Sequence[ReplyToken]) -> list[int]:
        most_likely(logits_NV, which)
        clock.tick(is_first=which[0][1] == 0)
        forced = ((rows.replies[index], number) for index, number in which)
        return [reply[n] if n < len(reply) else rows.end for reply, n in forced]

    replies = decode(
        model,
        rows.prompts,
        max_new_tokens=max(map(len, rows.replies)),
        ended=lambda index, ids: ids[-1] == rows.end,
        batch_size=BATCH_SIZES["ours"],
        pick=pick,
        max_draft=max_draft,
    )
    return [ids for _, ids in sorted(replies)]


class ForcedReplies(LogitsProcessor):
    """Forces the next token of each row of a batch."""

    def __init__(self, replies: Replies, clock: Clock, *, width: int) -> None:
        self._replies, self._clock, self._width = replies, clock, width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        number = input_ids.shape[1] - self._width
        self._clock.tick(is_first=number == 0)
        for row, reply in enumerate(self._replies):
            if number < len(reply):
                scores[row, reply[number]] = torch.inf
        return scores


def theirs(model: Any, rows: Dialogues, clock: Clock) -> Replies:
    """Replies of transformers' `generate`, rows in file order, padded on the left."""
    emitted: Replies = []
    size = BATCH_SIZES["generate"]
    for start in range(0, len(rows.prompts), size):
        prompts, replies = (x[start : start + size] for x in (rows.prompts, rows.replies))
        width = max(map(len, prompts))
        out = model.generate(
            input_ids=torch.tensor([[0] * (width - len(p)) + p for p in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
            max_new_tokens=max(map(len, rows.replies)),
            do_sample=False,
            eos_token_id=rows.end,
            pad_token_id=0,
            logits_processor=LogitsProcessorList([ForcedReplies(replies, clock, width=width)]),
        )
        new = out[:, width:].tolist()
        emitted += [row[: len(reply)] for row, reply in zip(new, replies, strict=True)]
    return emitted


def run_case(rows: Dialogues, folder: Path) -> dict[str, Any]:
    """Seconds of each side, summed over the rounds, and their ratios."""
    dtype = compute_dtype("auto")
    tree = load_base(folder, dtype)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    sides: dict[str, Callable[[Dialogues, Clock], Replies]] = {
        "ours": partial(ours, tree, max_draft=MAX_DRAFT),
        "without_drafts": partial(ours, tree, max_draft=0),
        "generate": partial(theirs, plain),
    }
    short = Dialogues(rows.prompts[:1], [[*rows.replies[0][:3], rows.end]], rows.end)
    for reply_to in sides.values():
        reply_to(short, Clock())  # warm-up: weights are read, kernels compiled
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name, reply_to in sides.items():
            clock = Clock()
            replies = reply_to(rows, clock)
            timings[name].append(clock.read())
            assert replies == rows.replies, f"{name}: replies differ from the forced ones"
            print(
                f"round {number}: {name:14} {timings[name][-1]['wall_s']:6.2f} s", file=sys.stderr
            )
    sums = {
        name: {key: round(sum(turn[key] for turn in turns), 2) for key in turns[0]}
        for name, turns in timings.items()
    }
    return {
        **{
            name: total | {"rows_per_s": round(ROUNDS * len(rows.prompts) / total["wall_s"], 3)}
            for name, total in sums.items()
        },
        **{
            f"{name}_over_generate": {
                key.removesuffix("_s"): round(sums["generate"][key] / sums[name][key], 2)
                for key in ("wall_s", "cpu_s", "prompt_s", "reply_s", "reply_passes")
            }
            for name in ("ours", "without_drafts")
        },
        "over_generate_by_round": [
            round(b["wall_s"] / a["wall_s"], 2)
            for a, b in zip(timings["ours"], timings["generate"], strict=True)
        ],
    }


def token_counts(rows: Dialogues) -> dict[str, int]:
    """Tokens with and without padding and shared prefixes."""
    size = BATCH_SIZES["generate"]
    batches = [slice(start, start + size) for start in range(0, len(rows.prompts), size)]
    order = [rows.prompts[i] for i in sort_rows(rows.prompts)]

    def padded(sequences: Replies) -> int:
        return sum(len(part) * max(map(len, part)) for part in (sequences[at] for at in batches))

    return {
        "prompt_tokens": sum(map(len, rows.prompts)),
        "padded_prompt_tokens": padded(rows.prompts),
        "distinct_prompt_tokens": trie_size([*map(len, order)], shared_lengths(order)),
        "reply_tokens": sum(map(len, rows.replies)),
        "padded_reply_tokens": padded(rows.replies),
    }


def main() -> None:
    results: dict[str, Any] = {}
    for name, vocab in VOCABULARIES.items():
        with tempfile.TemporaryDirectory() as scratch:
            source, read = load_rows(Path(scratch))
            make_base(replace(SHAPES["2b"], vocab=vocab), Path(scratch))
            [relabelled] = relabel([read], vocab)
            rows = Dialogues.of(relabelled)
            print(f"{name}: {vocab:,} pieces", file=sys.stderr)
            results[name] = {"vocab": vocab, **run_case(rows, Path(scratch))}
    facts = {
        "source": source,
        "num_rows": len(rows.prompts),
        **token_counts(rows),
        "num_threads": torch.get_num_threads(),
        "dtype": str(compute_dtype("auto")).removeprefix("torch."),
        "amx": torch.cpu._is_amx_tile_supported(),
    }
    print(json.dumps({"benchmark": "generate", **facts, "cases": results}))


if __name__ == "__main__":
    main()
