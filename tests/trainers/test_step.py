"""The step: independent of batching and of the number of workers, refuses what is not finite."""

import copy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from datasets_src.types import TokenizedExample
from trainers.config import LoraMethod
from trainers.methods.lora import add_adapter
from trainers.step import NonFiniteError, collate, loss_sum, num_target_tokens, train_step

VOCAB = 61


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).double().eval()


def rows(num: int, seed: int = 0) -> list[TokenizedExample]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(num):
        length = int(torch.randint(3, 20, (), generator=generator))
        ids = torch.randint(0, VOCAB, (length,), generator=generator).tolist()
        prompt = int(torch.randint(1, length, (), generator=generator))
        made.append(TokenizedExample(str(i), str(i), tuple(ids), prompt))
    return made


def plain_gradients(
    model: LlamaForCausalLM, examples: list[TokenizedExample]
) -> dict[str, torch.Tensor]:
    """The reference: one row at a time through transformers' own loss, no padding."""
    total = sum(num_target_tokens(e) for e in examples)
    for example in examples:
        labels = [-100] * example.prompt_len + list(example.input_ids[example.prompt_len :])
        ids = torch.tensor([example.input_ids])
        mean = model(input_ids=ids, labels=torch.tensor([labels])).loss
        (mean * num_target_tokens(example) / total).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_padded_gradients_equal_the_plain_ones() -> None:
    model, examples = tiny_llama(), rows(7)
    want = plain_gradients(copy.deepcopy(model), examples)
    total = sum(num_target_tokens(e) for e in examples)
    (loss_sum(model, collate(examples[:3], 0)) / total).backward()
    (loss_sum(model, collate(examples[3:], 0)) / total).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None
        error = (param.grad - want[name]).norm() / want[name].norm()
        # Stock RMSNorm computes in float32 inside.
        assert error < 2e-7, (name, error)


def test_padding_with_a_token_that_rows_hold_changes_nothing() -> None:
    model, examples = tiny_llama(), rows(5)
    losses = [loss_sum(model, collate(examples, pad)).item() for pad in (0, 17, VOCAB - 1)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12) == pytest.approx(losses[2], rel=1e-12)


def test_a_step_is_adamw_on_the_clipped_mean_gradient() -> None:
    examples = rows(6)
    model, reference = tiny_llama(), tiny_llama()
    want = plain_gradients(reference, examples)
    norm = torch.cat([g.flatten() for g in want.values()]).norm()
    optimizers = [torch.optim.AdamW(m.parameters(), lr=9.0) for m in (model, reference)]
    loss, got_norm = train_step(
        model,
        optimizers[0],
        [(0, collate(examples[:2], 0)), (1, collate(examples[2:], 0))],
        num_targets=sum(num_target_tokens(e) for e in examples),
        learning_rate=1e-2,
        max_grad_norm=0.5,
        seed=(1, 1),
    )
    assert got_norm == pytest.approx(float(norm), rel=1e-6) and got_norm > 0.5
    assert 3 < loss < 6
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    optimizers[1].param_groups[0]["lr"] = 1e-2
    optimizers[1].step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_loss_that_is_not_finite_leaves_the_weights() -> None:
    base = tiny_llama()
    with torch.no_grad():
        base.lm_head.weight[3] = float("inf")
    model = add_adapter(base, LoraMethod(lora_r=2), seed=0)
    before = [p.clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    with pytest.raises(NonFiniteError):
        train_step(
            model,
            optimizer,
            [(0, collate(rows(3), 0))],
            num_targets=9,
            learning_rate=1e-2,
            max_grad_norm=1.0,
            seed=(1, 1),
        )
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_dropout_depends_on_the_step_and_the_micro_batch_only() -> None:
    def gradient(seed: tuple[int, ...], index: int) -> torch.Tensor:
        model = add_adapter(tiny_llama(), LoraMethod(lora_r=2, lora_dropout=0.5), seed=0).train()
        torch.rand(7)  # whatever was drawn before
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad])
        train_step(
            model,
            optimizer,
            [(index, collate(rows(3), 0))],
            num_targets=9,
            learning_rate=1.0,
            max_grad_norm=1e9,
            seed=seed,
        )
        return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])

    assert torch.equal(gradient((1, 5), 0), gradient((1, 5), 0))
    assert not torch.equal(gradient((1, 5), 0), gradient((1, 6), 0))
    assert not torch.equal(gradient((1, 5), 0), gradient((1, 5), 1))
