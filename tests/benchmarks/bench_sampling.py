"""Does grouping rows with a common prefix cost accuracy? Held-out loss after the same examples.

    python -m tests.benchmarks.bench_sampling      # last line: one JSON object

The pocket model learns to rewrite real descriptions (invented ones where the data are absent). The
text precedes the request, so that the rows of a species share it. `sampling: shuffled` is compared
with `grouped` by 3 and by 9, from the same adapter, over several seeds. Grouped steps compute fewer
tokens but contain fewer species.
"""

import json
import statistics
import time
from collections.abc import Sequence

import pyarrow.parquet as pq
import torch

from datasets_src.batching.plan import cut_step, plan_run, prefix_units
from datasets_src.chat.tokenise import open_tokenizer, plain_tokens, read_format
from datasets_src.types import TokenizedExample
from tests.benchmarks.step.rows import BIOSENDA, invented_groups, to_text
from trainers.config.schema import LoraMethod, TrainConfig
from trainers.methods.lora import build
from trainers.models.resolve import resolve_model
from trainers.step.optimizer import make_optimizer
from trainers.step.packing import num_target_tokens, pack
from trainers.step.schedule import learning_rate
from trainers.step.train_step import DataParallelEngine, loss_part, train_step

SAMPLINGS: dict[str, int | None] = {"shuffled": None, "grouped 3": 3, "grouped 9": 9}
SEEDS = (0, 1)
ORDER = ("text", "prompt")  # with the other fields, rows get too long at a small vocabulary
MAX_LENGTH = 1024
HELD_OUT = 10
TRAIN = TrainConfig(
    train_batch_size=18, learning_rate=3e-3, num_train_epochs=1, max_tokens_per_micro_batch=8192
)
Rows = list[TokenizedExample]


def load_rows() -> tuple[str, dict[str, Rows]]:
    """The rows' source, and for each species the rows that fit the pocket model."""
    if BIOSENDA.is_dir():
        file = BIOSENDA / "description_train_handmade_real_targets.parquet"
        pairs = [
            (
                str(row["idtaxon"]),
                {
                    "prompt": row["Prompt"],
                    "text": row["Gemini"],
                    "target": row["Nueva Descripcion"],
                },
            )
            for row in pq.read_table(file).to_pylist()
        ]
    else:
        pairs = [(str(i), row) for i, group in enumerate(invented_groups()) for row in group]
    fmt = read_format(resolve_model("pocket"), "plain")
    texts = [(to_text(row, ORDER)[0], row.get("target", row["text"]) + "\n") for _, row in pairs]
    made = plain_tokens(fmt, open_tokenizer(fmt), texts)
    species: dict[str, Rows] = {}
    for number, ((name, _), row) in enumerate(zip(pairs, made, strict=True)):
        if len(row.input_ids) <= MAX_LENGTH:
            example = TokenizedExample(str(number), name, tuple(row.input_ids), row.prompt_len)
            species.setdefault(name, []).append(example)
    return "real" if BIOSENDA.is_dir() else "invented", species


def held_out_loss(model: torch.nn.Module, rows: Rows) -> float:
    """Mean loss per target token of rows that were not trained on."""
    total = sum(num_target_tokens(len(r.input_ids), r.prompt_len) for r in rows)
    cut = cut_step(rows, num_workers=1, max_tokens=8192, min_share=8)
    with torch.no_grad():
        parts = [loss_part(model, pack(b.rows, min_share=8), num_targets=total) for b in cut]
    return float(sum(parts))


def train(rows: Rows, held_out: Rows, *, group_size: int | None, seed: int) -> tuple[float, float]:
    """Held-out loss after one epoch, and seconds of training."""
    model = build(
        resolve_model("pocket"), LoraMethod(), dtype=torch.float32, seed=seed, device="cpu"
    )
    optimizer = make_optimizer(model, TRAIN)
    ids = [row.input_ids for row in rows]
    plan = plan_run(
        len(rows),
        seed=seed,
        num_epochs=TRAIN.num_train_epochs,
        max_steps=-1,
        train_batch_size=TRAIN.train_batch_size,
        units=None if group_size is None else prefix_units(ids, group_size),
    )
    started = time.monotonic()
    for step in plan:
        step_rows = [rows[i] for i in step.rows]
        batches = cut_step(step_rows, num_workers=1, max_tokens=8192, min_share=TRAIN.min_share)
        train_step(
            DataParallelEngine(model, optimizer, max_grad_norm=TRAIN.max_grad_norm),
            ((i, pack(b.rows, min_share=TRAIN.min_share)) for i, b in enumerate(batches)),
            num_targets=sum(num_target_tokens(len(r.input_ids), r.prompt_len) for r in step_rows),
            learning_rate=learning_rate(
                step.step,
                peak=TRAIN.learning_rate,
                total_steps=len(plan),
                warmup_steps=0.1,
                kind="cosine",
            ),
            seed=(seed, step.step),
        )
    return held_out_loss(model, held_out), time.monotonic() - started


def split_species(species: dict[str, Rows], seed: int) -> tuple[Rows, Rows]:
    """Training and held-out rows, split by species."""
    order = torch.randperm(len(species), generator=torch.Generator().manual_seed(seed)).tolist()
    names = [sorted(species)[i] for i in order]
    return flat(species, names[HELD_OUT:]), flat(species, names[:HELD_OUT])


def flat(species: dict[str, Rows], names: Sequence[str]) -> Rows:
    """The rows of the named species."""
    return [row for name in names for row in species[name]]


def main() -> None:
    source, species = load_rows()
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in SAMPLINGS}
    for seed in SEEDS:
        rows, held_out = split_species(species, seed)
        for name, group_size in SAMPLINGS.items():
            results[name].append(train(rows, held_out, group_size=group_size, seed=seed))
            loss, seconds = results[name][-1]
            print(f"seed {seed}  {name:10} held-out loss {loss:.4f}  {seconds:5.1f} s", flush=True)
    table = {
        name: {
            "loss": round(statistics.mean(loss for loss, _ in runs), 4),
            "seconds": round(statistics.mean(seconds for _, seconds in runs), 1),
            "loss_over_shuffled": [
                round(a[0] - b[0], 4) for a, b in zip(runs, results["shuffled"], strict=True)
            ],
        }
        for name, runs in results.items()
    }
    print(json.dumps({"bench": "sampling", "source": source, "num_rows": len(rows), **table}))


if __name__ == "__main__":
    main()
