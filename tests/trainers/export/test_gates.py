"""Conversion and gates on a real tiny model: they pass on it, and fail on what they guard against.

One conversion serves many tests: a GGUF is broken by editing its bytes.
"""

import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from datasets_src.chat.tokenise import TextFormat, read_format
from datasets_src.errors import UserError
from datasets_src.types import Message
from tests.trainers.export.tiny_export import (
    ROWS,
    alone,
    build_adapter,
    build_base,
    edit_json,
    gguf_string,
    prompts_of,
    swap_once,
    teach,
)
from trainers.export import gates as g
from trainers.export.gguf import convert
from trainers.export.llama_server import Completion, LlamaServer
from trainers.export.prompts import Prompt, chat_prompts, plain_prompts, probe_prompts
from trainers.export.reply_gates import Reference, answer, divergence, gate_replies
from trainers.export.token_gates import (
    gate_served_prompts,
    gate_stop,
    gate_token_ids,
    token_gates,
    tokenizer_settings,
)
from trainers.methods import lora
from trainers.methods.merge_adapter import merge_adapter
from trainers.models.load import load_base, load_tokenizer
from trainers.models.pocket.tokenizer import EOS_ID

CONTEXT = 256


@dataclass(frozen=True)
class Made:
    """A merged model, its f16 file, and the merged model's replies to its prompts."""

    folder: Path
    base: Path
    gguf: Path
    fmt: TextFormat
    prompts: list[Prompt]
    references: list[Reference]

    @property
    def merged(self) -> Path:
        return self.folder / "merged"


@pytest.fixture(scope="module")
def made(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("gates")
    base = build_base(folder / "base")
    # As published models do it: the tokenizer adds BOS, the chat template does not.
    edit_json(base / "tokenizer_config.json", add_bos_token=True)
    model = load_base(base, torch.float32).requires_grad_(True)
    teach(model, base, steps=150, learning_rate=5e-3)
    model.save_pretrained(base)
    adapter = build_adapter(base, folder / "adapter", steps=40)
    merge_adapter(base, adapter, folder / "merged")
    fmt = read_format(base, "chat")
    prompts = chat_prompts(fmt, [[Message(role="user", content=row[0])] for row in ROWS])
    assert [list(prompt.ids) for prompt in prompts] == prompts_of(base)
    settings = tokenizer_settings(fmt, prompts)
    assert settings == {
        "chat_template": fmt.chat_template,
        "add_bos_token": False,
        "add_prefix_space": False,
    }
    convert(folder / "merged", folder / "m-f16.gguf", outtype="f16", tokenizer_settings=settings)
    references = answer(
        load_base(folder / "merged", torch.float32),
        load_tokenizer(base),
        [prompt.ids for prompt in prompts],
        max_new_tokens=40,
        stop=(),
        batch_size=5,
    )
    return Made(folder, base, folder / "m-f16.gguf", fmt, prompts, references)


@pytest.fixture(scope="module")
def llama(made: Made) -> Iterator[LlamaServer]:
    with LlamaServer(made.gguf, context_tokens=CONTEXT) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with alone():
        yield


def broken(made: Made, data: bytes) -> Path:
    path = made.folder / "broken.gguf"
    path.write_bytes(data)
    return path


def test_tokens_and_served_prompts_pass(made: Made, llama: LlamaServer) -> None:
    prompts = [*probe_prompts(made.fmt), *made.prompts]
    ids, served, stop = token_gates(llama, made.fmt, prompts)
    # 12 probes, a dialogue, a system turn, 12 prompts.
    assert ids.passed and ids.detail == "26/26 prompts are split as trained"
    assert served.passed and served.detail == "26/26 prompts are served as trained"
    assert stop.passed and stop.detail == f"<|im_end|> ({EOS_ID}) ends a reply"


def test_gate_stop_fails_on_a_token_that_ends_nothing(made: Made, llama: LlamaServer) -> None:
    gate = gate_stop(llama, replace(made.fmt, stop_id=EOS_ID + 40), made.prompts[0])
    assert not gate.passed and "does not end" in gate.detail


def test_plain_prompts_need_the_bos_that_chat_prompts_lack(made: Made, llama: LlamaServer) -> None:
    fmt = read_format(made.base, "plain")
    prompts = plain_prompts(fmt, [row[0] for row in ROWS])
    assert tokenizer_settings(fmt, prompts)["add_bos_token"] is True
    # The file of a chat model adds none.
    gate = gate_token_ids(llama, fmt, prompts)
    assert not gate.passed and "differs at token 0" in gate.detail
    path = made.folder / "plain.gguf"
    settings = tokenizer_settings(fmt, prompts)
    convert(made.merged, path, outtype="f16", tokenizer_settings=settings)
    with LlamaServer(path, context_tokens=CONTEXT) as plain:
        gates = token_gates(plain, fmt, [*probe_prompts(fmt), *prompts])
    assert [gate.name for gate in gates] == ["token ids", "stop"]
    assert all(gate.passed for gate in gates)


def test_f16_replies_equal_the_merged_models(made: Made, llama: LlamaServer) -> None:
    replies, logprobs = gate_replies(llama, made.references, outtype="f16")
    assert replies.passed and replies.detail.startswith("12/12 equal")
    assert logprobs.passed and logprobs.value < 1e-3
    # The references are answers, not one string: they differ and they end.
    assert len({row.ids for row in made.references}) >= 4
    assert all(row.ids[-1] == EOS_ID for row in made.references)


def test_q8_0_replies_pass(made: Made) -> None:
    path = made.folder / "m-q8_0.gguf"
    convert(made.merged, path, outtype="q8_0")
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        replies, logprobs = gate_replies(llama, made.references, outtype="q8_0")
        # Converted without our settings: the file puts a BOS before chat prompts.
        served = gate_served_prompts(llama, made.prompts)
    assert replies.passed and logprobs.passed
    assert 1e-5 < logprobs.value < 0.02
    assert path.stat().st_size < 0.8 * made.gguf.stat().st_size
    assert not served.passed and "differs at token 0" in served.detail


def test_completion_is_deterministic_and_stops(made: Made, llama: LlamaServer) -> None:
    reference = made.references[0]
    first = llama.complete(reference.prompt, max_new_tokens=40)
    llama.complete(made.prompts[5].ids, max_new_tokens=9)
    assert llama.complete(reference.prompt, max_new_tokens=40) == first
    assert len(first.logprobs) in (0, len(first.ids))
    stopped = llama.complete(reference.prompt, max_new_tokens=40, stop=["COUNT"])
    assert stopped.ended == "word" and "COUNT" not in stopped.text
    assert llama.complete(reference.prompt, max_new_tokens=3).ended == "limit"


def test_gate_replies_fails_on_a_perturbed_weight(made: Made) -> None:
    weight = load_file(made.merged / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    raw, data = weight.half().numpy().tobytes(), made.gguf.read_bytes()
    assert data.count(raw) == 1
    noisy = weight + 0.5 * weight.std() * torch.randn(
        weight.shape, generator=torch.Generator().manual_seed(0)
    )
    path = broken(made, data.replace(raw, noisy.half().numpy().tobytes()))
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        _, logprobs = gate_replies(llama, made.references, outtype="f16")
    assert not logprobs.passed and logprobs.value > 2 * logprobs.limit


def test_gate_token_ids_fails_on_a_permuted_vocabulary(made: Made) -> None:
    data = swap_once(made.gguf.read_bytes(), gguf_string("á"), gguf_string("é"))
    with LlamaServer(broken(made, data), context_tokens=CONTEXT) as llama:
        gate = gate_token_ids(llama, made.fmt, [*probe_prompts(made.fmt), *made.prompts])
        replies, _ = gate_replies(llama, made.references, outtype="f16")
    assert not gate.passed and gate.value == 2 and "differs at token" in gate.detail
    # Ids in, ids out: only the tokenizer gate can see it.
    assert replies.passed


def test_gate_fails_on_what_transformers_saves_without_the_sentencepiece_file(made: Made) -> None:
    saved = made.folder / "saved"
    shutil.copytree(made.merged, saved)
    for path in saved.glob("tokenizer*"):
        path.unlink()
    AutoTokenizer.from_pretrained(made.base).save_pretrained(saved)
    assert not (saved / "tokenizer.model").exists()
    path = made.folder / "saved.gguf"
    try:
        convert(saved, path, outtype="f16")
    except UserError as refused:
        assert "failed" in str(refused) and not path.exists()
        return
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        gate = gate_token_ids(llama, made.fmt, made.prompts)
    assert not gate.passed


def test_gate_served_prompts_fails_on_another_chat_template(made: Made) -> None:
    data = made.gguf.read_bytes()
    assert data.count(b"<|im_start|>assistant") == 1
    path = broken(made, data.replace(b"<|im_start|>assistant", b"<|im_start|>asistente"))
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        gate = gate_served_prompts(llama, made.prompts)
    assert not gate.passed and gate.value == 12


def test_gate_served_prompts_fails_on_a_double_bos(made: Made) -> None:
    key = gguf_string("tokenizer.ggml.add_bos_token") + struct.pack("<I", 7)
    data = made.gguf.read_bytes()
    assert data.count(key + b"\0") == 1
    path = broken(made, data.replace(key + b"\0", key + b"\1"))
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        gate = gate_served_prompts(llama, made.prompts)
    assert not gate.passed and "differs at token 0" in gate.detail


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_logits_pass_and_fail(tmp_path: Path, dtype: torch.dtype) -> None:
    base = build_base(tmp_path / "base", dtype=dtype)
    adapter = build_adapter(base, tmp_path / "adapter", steps=30)
    merge_adapter(base, adapter, tmp_path / "merged")
    prompts = prompts_of(base)
    adapted, plain = g.adapted_logits(base, adapter, prompts, method=lora)

    def gate(folder: Path) -> g.Gate:
        logits = g.last_logits(load_base(folder, torch.float32), prompts)
        return g.gate_merged_logits(logits, adapted, plain, stored=dtype)

    good = gate(tmp_path / "merged")
    assert good.passed and "positions of 12 prompts" in good.detail
    # The base is what a forgotten merge looks like; twice merged, what a repeated one does.
    assert not gate(base).passed
    merge_adapter(tmp_path / "merged", adapter, tmp_path / "twice")
    assert not gate(tmp_path / "twice").passed


def reference(ids: tuple[int, ...], second: float) -> Reference:
    top = np.array([[token, token + 1] for token in ids])
    logprobs = np.array([[-0.1, -0.1 - second] for _ in ids])
    return Reference((1, 2), ids, top, logprobs)


def test_divergence_tells_ties_from_faults() -> None:
    merged = reference((10, 20, 30), second=0.015)
    same = Completion((10, 20, 30), "", (-0.1, -0.1, -0.1), "limit")
    assert divergence(merged, same) is None
    assert divergence(merged, replace(same, ids=(10, 21, 99))) == pytest.approx(0.015)
    assert divergence(merged, replace(same, ids=(10, 77, 30))) == float("inf")
    assert divergence(merged, replace(same, ids=(10, 20))) == float("inf")


def test_failing_converter_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    edit_json(base / "config.json", architectures=["GallipatoForCausalLM"])
    with pytest.raises(UserError, match="GallipatoForCausalLM"):
        convert(base, tmp_path / "out" / "x.gguf", outtype="f16")
    assert list((tmp_path / "out").iterdir()) == []


def test_llama_server_refuses_a_torn_file_and_leaves_no_process(made: Made) -> None:
    path = broken(made, made.gguf.read_bytes()[:5000])
    server = LlamaServer(path, context_tokens=CONTEXT)
    with pytest.raises(UserError, match=r"does not load .*broken\.gguf"):
        server.__enter__()
    assert server._process.poll() is not None
