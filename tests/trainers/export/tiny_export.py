"""A Llama of 80,000 parameters, an adapter and chat prompts: what the export tests work on."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from trainers.models.load import load_base, load_tokenizer
from trainers.models.pocket.tokenizer import BOS_ID, EOS_ID, PAD_ID, train_tokenizer

ROWS = [
    (f"¿Cuántas {thing} hay en {place}?", f"SELECT COUNT(*) FROM {thing} WHERE lugar = '{place}'")
    for thing in ("rutas", "especies", "charcas")
    for place in ("Ávila", "Béjar", "Gredos", "Sanabria")
]
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@contextmanager
def alone() -> Iterator[None]:
    """One torch thread: two that spin for each other take 100 times as long on shared cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build_base(out: Path, *, tied: bool = True, dtype: torch.dtype = torch.float32) -> Path:
    """Tokenizer and random weights."""
    out.mkdir(parents=True)
    train_tokenizer(out, [text for row in ROWS for text in row] * 8, vocab_size=450)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(load_tokenizer(out)),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype
    model.save_pretrained(out)
    return out


def dialogues(base: Path) -> list[tuple[list[int], int]]:
    """Token ids of each row as a dialogue, and how many of them are the prompt."""
    tokenizer = load_tokenizer(base)
    found = []
    for question, sql in ROWS:
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        rest = tokenizer(f"{sql}<|im_end|>", add_special_tokens=False).input_ids
        found.append((ids + rest, len(ids)))
    return found


def prompts_of(base: Path) -> list[list[int]]:
    """The prompts alone."""
    return [ids[:num_prompt] for ids, num_prompt in dialogues(base)]


def teach(model: torch.nn.Module, base: Path, *, steps: int, learning_rate: float) -> None:
    """Some steps of AdamW on what is trainable, so that replies are more than chance."""
    rows = dialogues(base)
    width = max(len(ids) for ids, _ in rows)
    ids_BT = torch.tensor([ids + [PAD_ID] * (width - len(ids)) for ids, _ in rows])
    labels_BT = ids_BT.clone()
    for row, (ids, num_prompt) in enumerate(rows):
        labels_BT[row, :num_prompt] = -100
        labels_BT[row, len(ids) :] = -100
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate)
    for _ in range(steps):
        model(input_ids=ids_BT, labels=labels_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def build_adapter(base: Path, out: Path, *, steps: int = 40, **options: Any) -> Path:
    """A LoRA adapter trained for some steps, or with a random B for steps=0."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": list(TARGETS)} | options
    lora = LoraConfig(task_type="CAUSAL_LM", **settings)
    model = get_peft_model(load_base(base, torch.float32), lora)
    if steps:
        teach(model, base, steps=steps, learning_rate=1e-2)
    else:
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
            elif "lora_magnitude_vector" in name:
                parameter.data *= 1 + 0.1 * torch.rand_like(parameter)
    model.save_pretrained(str(out), save_embedding_layers=False)
    return out


def edit_json(path: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    old = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(old | values, ensure_ascii=False), encoding="utf-8")


def gguf_string(text: str) -> bytes:
    """A string as GGUF stores it: its length in eight bytes, then UTF-8."""
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def swap_once(data: bytes, a: bytes, b: bytes) -> bytes:
    """Exchange two equally long byte strings, each of which occurs once."""
    assert len(a) == len(b) and data.count(a) == data.count(b) == 1
    first, second = sorted((a, b), key=data.find)
    before, rest = data.split(first)
    between, after = rest.split(second)
    return before + second + between + first + after
