"""The pocket model: a Llama of 1.04 million parameters, pretrained here in seconds.

    python -m trainers.models.pocket.model OUT        builds it into the directory OUT
    model_name_or_path: pocket           in a config: `pocket_dir()`, built once and cached

It is trained on some kinds of the shipped requests (corpus.py), so an adapter has something to
build on and something left to learn. A seed gives the same bytes on one machine and torch version.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch
import transformers
from filelock import FileLock
from tqdm import tqdm
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from datasets_src.files import write_atomically
from datasets_src.generators import world
from datasets_src.types import Message
from trainers.models.pocket import corpus as pocket_corpus
from trainers.models.pocket import tokenizer as pocket_tokenizer
from trainers.models.pocket.tokenizer import (
    BOS_ID,
    EOS_ID,
    MAX_LENGTH,
    PAD_ID,
    train_tokenizer,
)

VOCAB_SIZE = 2000
HIDDEN_SIZE = 128  # a multiple of 32, the block of GGUF's Q8_0
NUM_LAYERS = 3
NUM_STEPS = 320
NUM_THREADS = 2  # fixed: it determines the order of floating-point sums
# Large and shuffled: with 8 rows per step, or rows of similar length together, the model does not
# learn in this time to copy a slot's value, and an adapter has nothing to build on.
BATCH_SIZE = 48
PEAK_LEARNING_RATE = 4e-3
PROSE_EVERY = 20
IGNORED = -100
Document = tuple[list[int], int]  # token ids, number of prompt tokens


def build_pocket(out: Path, *, seed: int = 0, steps: int = NUM_STEPS) -> None:
    """Write config, fp32 safetensors and tokenizer into `out`, which is created."""
    out.mkdir(parents=True, exist_ok=True)
    train_tokenizer(out, pocket_corpus.tokenizer_texts(), vocab_size=VOCAB_SIZE)
    tokenizer = AutoTokenizer.from_pretrained(out)
    with _reproducible(seed):
        model = LlamaForCausalLM(model_config())
        _pretrain(model, tokenizer, Random(seed), steps=steps)
    model.generation_config.update(eos_token_id=EOS_ID, pad_token_id=PAD_ID, bos_token_id=BOS_ID)
    model.save_pretrained(out)


def pocket_dir() -> Path:
    """Directory of the model; the first call builds it while other processes wait."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gallipato"
    target = cache / f"pocket-{_source_hash()}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            with write_atomically(target) as part:
                build_pocket(part, steps=NUM_STEPS)
    return target


def _source_hash() -> str:
    """Hash of everything that determines the bytes: our sources and data, torch, transformers."""
    digest = hashlib.sha256(f"{torch.__version__} {transformers.__version__}".encode())
    generators = Path(world.__file__)
    sources = [Path(__file__), Path(pocket_corpus.__file__), Path(pocket_tokenizer.__file__)]
    facts = [generators, *sorted((generators.parent / "senderos").glob("*.py"))]
    for path in [*sources, *facts, pocket_corpus.DATA_FILE]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def model_config() -> LlamaConfig:
    """1.04 million parameters, a quarter of them the tied embedding."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=512,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        initializer_range=0.06,  # near 1 / sqrt(width): 0.02 loses the first hundred steps
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Fixed threads and seed, deterministic kernels; restores the caller's settings."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def _dialogues(tokenizer: PreTrainedTokenizerBase, rng: Random, *, count: int) -> list[Document]:
    """`count` requests as chat prompts of the task; only the SQL is trained on."""
    documents = []
    for request in pocket_corpus.known_requests(rng, count=count):
        question, answer = pocket_corpus.dialogue(request)
        prompt = _render(tokenizer, question, add_generation_prompt=True)
        text = _render(tokenizer, question, answer).rstrip("\n")
        documents.append((tokenizer(text).input_ids, len(tokenizer(prompt).input_ids)))
    return documents


def _render(
    tokenizer: PreTrainedTokenizerBase, *turns: Message, add_generation_prompt: bool = False
) -> str:
    text = tokenizer.apply_chat_template(
        [{"role": turn["role"], "content": turn["content"]} for turn in turns],
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
    )
    assert isinstance(text, str), type(text)
    return text


def _prose(tokenizer: PreTrainedTokenizerBase, rng: Random, *, count: int) -> list[Document]:
    """`count` texts of two sentences each."""
    sentences = pocket_corpus.prose(pocket_corpus.world())
    texts = ["\n".join(rng.sample(sentences, 2)) for _ in range(count)]
    return [(ids, 0) for ids in tokenizer(texts).input_ids]


def _pretrain(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, rng: Random, *, steps: int
) -> None:
    """AdamW on dialogues; one step in PROSE_EVERY reads prose instead."""
    dialogues = _dialogues(tokenizer, rng, count=steps * BATCH_SIZE)
    prose = _prose(tokenizer, rng, count=steps * BATCH_SIZE)
    schema = tokenizer(f"<|im_start|>user\n{pocket_corpus.SCHEMA.strip()}").input_ids
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98), fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=steps + 1, pct_start=0.05, cycle_momentum=False
    )
    model.train()
    for step in tqdm(range(steps), desc="building the pocket model", unit="step"):
        rows = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        if step % PROSE_EVERY == 0:
            loss = _loss(model, [], prose[rows])
        else:
            loss = _loss(model, schema, dialogues[rows])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _loss(model: LlamaForCausalLM, prefix: list[int], texts: list[Document]) -> torch.Tensor:
    """Mean loss at loss positions; `prefix`, common to all texts, is computed once.

    The schema is two thirds of a dialogue, so three times as many fit in the same time.
    """
    cache = None
    if prefix:
        assert all(ids[: len(prefix)] == prefix for ids, _ in texts), "the schema must come first"
        cache = model.model(input_ids=torch.tensor([prefix]), use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(texts))
    longest = max(len(ids) for ids, _ in texts) - len(prefix)
    ids_BT = torch.full((len(texts), longest), PAD_ID)
    labels_BT = torch.full((len(texts), longest), IGNORED)
    for row, (ids, num_prompt) in enumerate(texts):
        skipped = max(0, num_prompt - len(prefix))
        rest = torch.tensor(ids[len(prefix) :])
        ids_BT[row, : len(rest)] = rest
        labels_BT[row, skipped : len(rest)] = rest[skipped:]
    hidden_BTD = model.model(input_ids=ids_BT, past_key_values=cache).last_hidden_state
    trained_BT = labels_BT[:, 1:] != IGNORED
    logits_NV = model.lm_head(hidden_BTD[:, :-1][trained_BT])
    return torch.nn.functional.cross_entropy(logits_NV, labels_BT[:, 1:][trained_BT])


def main(arguments: list[str]) -> int:
    """Build into the given directory and print the model's shape."""
    if len(arguments) != 1:
        print("usage: python -m trainers.models.pocket.model OUT", file=sys.stderr)
        return 2
    out = Path(arguments[0])
    build_pocket(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    print(f"{out}: {config['num_hidden_layers']} layers of width {config['hidden_size']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
