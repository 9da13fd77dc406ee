"""The packed step has the plain step's loss and gradients, for any rows and family."""

import copy
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.types import TokenizedExample
from tests.trainers.step.plain_step import (
    MODELS,
    VOCAB,
    as_examples,
    build_model,
    count_targets,
    gradients,
    plain_backward,
    random_rows,
    relative_error,
)
from trainers.config.schema import LoraMethod
from trainers.kernels.query_chunks import cut_chunks
from trainers.methods.lora import add_adapter
from trainers.step.packing import pack
from trainers.step.train_step import loss_part

EXACT = 1e-12
BIOSENDA = Path(__file__).resolve().parents[3] / "../shared/data/biosenda"


def packed_backward(
    model: torch.nn.Module, examples: list[TokenizedExample], min_share: int
) -> float:
    batch = pack(examples, min_share=min_share)
    loss = loss_part(model, batch, num_targets=count_targets(examples))
    loss.backward()
    return float(loss.detach())


def compare(
    name: str, examples: list[TokenizedExample], min_share: int, *, wide_norms: bool = True
) -> float:
    """Relative error of the packed gradients of every weight, in float64."""
    model = build_model(name, wide_norms=wide_norms)
    plain = copy.deepcopy(model)
    loss, want = packed_backward(model, examples, min_share), plain_backward(plain, examples)
    assert loss == pytest.approx(want, rel=1e-12 if wide_norms else 1e-7)
    return relative_error(gradients(model), gradients(plain))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("min_share", [1, 4])
def test_every_family_has_the_plain_gradient(name: str, min_share: int) -> None:
    examples = random_rows(9, seed=min_share)
    batch = pack(examples, min_share=min_share)
    assert len(batch.ids) < 0.9 * batch.num_row_tokens, "too little is shared"
    assert compare(name, examples, min_share) < EXACT


def test_stock_norms_round_to_float32_and_no_more() -> None:
    assert compare("llama", random_rows(7), 4, wide_norms=False) < 2e-7


ids = st.lists(st.integers(0, 3), min_size=2, max_size=10)
any_rows = st.lists(st.tuples(ids, st.integers(0, 9)), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(rows=any_rows, min_share=st.integers(1, 12))
def test_any_rows_and_any_min_share(rows: list[tuple[list[int], int]], min_share: int) -> None:
    rows = [(ids, min(prompt, len(ids) - 1)) for ids, prompt in rows]
    assert compare("llama", as_examples(rows), min_share) < EXACT


@pytest.mark.parametrize(
    "rows",
    [
        [([5, 6, 7, 8], 1)],
        [([5, 6, 7, 8], 2)] * 3,
        [([5, 6, 7, 8, 9], 2), ([5, 6, 7], 1)],
        [([5, 6, 7, 8, 9], 4), ([5, 6, 7, 8], 1), ([5, 6], 1), ([6, 6], 1)],
        [([5, 6], 0), ([5, 7], 1)],
    ],
    ids=["a single row", "duplicates", "a prefix of another", "nested prefixes", "short prompts"],
)
def test_corner_cases(rows: list[tuple[list[int], int]]) -> None:
    assert compare("llama", as_examples(rows), 1) < EXACT


def test_the_example_of_the_docstring() -> None:
    batch = pack(as_examples([([1, 2, 3, 4], 1), ([1, 2, 5, 6], 1), ([1, 2, 5], 1)]), min_share=1)
    assert batch.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.tree.ends.tolist() == [6, 6, 4, 4, 6, 6]
    assert batch.tree.positions.tolist() == [0, 1, 2, 3, 2, 3]
    targets = zip(batch.src.tolist(), batch.targets.tolist(), batch.weights.tolist(), strict=True)
    assert list(targets) == [(0, 2, 3.0), (1, 3, 1.0), (1, 5, 2.0), (2, 4, 1.0), (4, 6, 1.0)]


@settings(deadline=None)
@given(rows=any_rows, min_share=st.integers(1, 12), size=st.integers(1, 40))
def test_chunks_equal_the_dense_mask(
    rows: list[tuple[list[int], int]], min_share: int, size: int
) -> None:
    tree = pack(as_examples([(i, min(p, len(i) - 1)) for i, p in rows]), min_share=min_share).tree
    seen = torch.zeros(len(tree.ends), len(tree.ends), dtype=torch.bool)
    queries: list[int] = []
    for chunk in cut_chunks(tree.ends.numpy(), size=size):
        keys = torch.cat([torch.arange(*key_range) for key_range in chunk.keys])
        assert 0 < chunk.end - chunk.start <= size and len(keys.unique()) == len(keys)
        is_seen = torch.ones(chunk.end - chunk.start, len(keys), dtype=torch.bool)
        is_seen[:, len(keys) - chunk.hidden.shape[1] :] = chunk.hidden == 0
        assert is_seen.any(0).all(), "a key that no query of the chunk sees"
        seen[chunk.start : chunk.end, keys] = is_seen
        queries += range(chunk.start, chunk.end)
    assert queries == list(range(len(tree.ends))), "a query is missing or comes twice"
    assert torch.equal(seen, tree.mask())


@settings(deadline=None)
@given(rows=any_rows, multiple=st.integers(1, 20))
def test_no_token_sees_padding(rows: list[tuple[list[int], int]], multiple: int) -> None:
    batch = pack(as_examples([(i, min(p, len(i) - 1)) for i, p in rows]), min_share=2)
    padded, tokens, targets = batch.padded(multiple), len(batch.ids), len(batch.src)
    assert len(padded.ids) % multiple == len(padded.src) % multiple == 0
    assert padded.ids[:tokens].equal(batch.ids) and padded.src[:targets].equal(batch.src)
    assert padded.tree.positions[:tokens].equal(batch.tree.positions)
    assert padded.targets[:targets].equal(batch.targets)
    assert padded.weights[:targets].equal(batch.weights) and not padded.weights[targets:].any()
    mask = padded.tree.mask()
    assert torch.equal(mask[:tokens, :tokens], batch.tree.mask())
    assert not mask[:tokens, tokens:].any() and not mask[tokens:, :tokens].any()
    assert mask.diagonal().all()


def test_the_order_of_rows_changes_no_bit() -> None:
    examples = random_rows(8)
    model = build_model()
    losses = [packed_backward(model, rows, 4) for rows in (examples, examples[::-1])]
    assert losses[0] == losses[1]


def test_bfloat16_rounds_no_more_than_the_plain_step() -> None:
    """Compared with the float32 gradient of the same bfloat16 weights, over six draws of rows."""
    ours: list[torch.Tensor] = []
    plain: list[torch.Tensor] = []
    exact: list[torch.Tensor] = []
    for seed in range(6):
        examples = random_rows(24, seed=seed, shared=60)
        models = [bfloat16_lora() for _ in range(3)]
        packed_backward(models[0], examples, 4)
        plain_backward(models[1], examples)
        plain_backward(models[2].float(), examples)
        for model, collected in zip(models, (ours, plain, exact), strict=True):
            collected += [g.flatten().double() for g in gradients(model).values()]
    truth = torch.cat(exact)
    error, allowed = (float((torch.cat(x) - truth).norm() / truth.norm()) for x in (ours, plain))
    assert 1e-3 < allowed < 0.02 and error < 1.2 * allowed


def bfloat16_lora() -> torch.nn.Module:
    base = build_model(dtype=torch.bfloat16, wide_norms=False, hidden_size=128, num_hidden_layers=3)
    model = add_adapter(base, LoraMethod(lora_r=8), seed=0)
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if "lora_B" in name:  # zero at initialisation, which leaves A without a gradient
            torch.nn.init.normal_(p, std=0.05)
    return model


def test_recomputed_activations_give_the_same_gradient() -> None:
    examples = random_rows(6)
    model = build_model().train()
    plain = copy.deepcopy(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    packed_backward(model, examples, 4)
    plain_backward(plain, examples)
    assert relative_error(gradients(model), gradients(plain)) < EXACT


def test_two_batches_in_one_graph_do_not_interfere() -> None:
    first, second, model = random_rows(5, seed=1), random_rows(5, seed=2), build_model()
    losses = [
        loss_part(model, pack(rows, min_share=4), num_targets=count_targets(rows))
        for rows in (first, second)
    ]
    torch.stack(losses).sum().backward()
    plain = build_model()
    plain_backward(plain, first)
    plain_backward(plain, second)
    assert relative_error(gradients(model), gradients(plain)) < EXACT


@pytest.mark.skipif(not BIOSENDA.is_dir(), reason=f"{BIOSENDA} is absent")
@pytest.mark.parametrize("task", ["text2sql", "descriptions"])
def test_real_rows(task: str) -> None:
    """Characters are tokens: real shared prefixes for a model of a few thousand weights."""
    rows = real_texts(task)
    examples = as_examples([([ord(c) % VOCAB for c in p + t], len(p)) for p, t in rows])
    batch = pack(examples, min_share=8)
    assert len(batch.ids) < 0.7 * batch.num_row_tokens
    assert compare("llama", examples, 8) < EXACT


def real_texts(task: str) -> list[tuple[str, str]]:
    """(prompt, target) of a few rows, with schema and texts cut short to keep the test fast."""
    if task == "text2sql":
        schema = (BIOSENDA / "schema_prompt.sql").read_text(encoding="utf-8")[:600]
        lines = (BIOSENDA / "text2sql.jsonl").read_text(encoding="utf-8").splitlines()[:8]
        rows = [json.loads(line) for line in lines]
        return [(f"{schema}\n{r['Prompt']}\n", r["SQL"][:120] + ";") for r in rows]
    lines = (
        (BIOSENDA / "mini_description_test_dataset.jsonl").read_text(encoding="utf-8").splitlines()
    )
    rows = sorted((json.loads(line) for line in lines), key=lambda r: str(r["idtaxon"]))[:6]
    return [
        (f"{r['Descripcion'][:500]}\n{r['Prompt']}\n", r["Nueva Descripcion"][:120]) for r in rows
    ]
