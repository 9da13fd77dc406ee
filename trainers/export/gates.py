"""What must hold before an exported file gets its name; each gate says what it counted.

Gate("token ids", passed=True, value=0.0, limit=0.0, detail="61/61 texts equal")

The merged weights are held against base + adapter (under qlora too the original base, into which
they are merged), and the GGUF's tokenizer against the base's: transformers 5 can save a tokenizer
so that the converter exits 0 and every chat prompt differs.
The replies of the GGUF are held against the merged model's in trainers/export/reply_gates.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from datasets_src.errors import UserError
from datasets_src.types import Message
from trainers.export.llama_server import LlamaServer
from trainers.methods.contract import TrainingMethod

# Largest difference of two logits over the spread of all. Weights merged into float32 differ by
# the order of sums (1e-6 measured), into half precision by the rounding of every weight
# (bfloat16: 8 bits, 0.02 measured; float16: 11 bits).
LOGIT_LIMITS = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
POSITIONS = 32
PROBES = (
    "¿Cuántas rutas hay en Ávila? ¡Ñandú, pingüino, corazón!",
    "E\u0301l camino\u0301 con tildes sueltas",
    "0 1 12 123 1234567890 3,14 1.000.000 -7 2024-02-29 10:45",
    "SELECT COUNT(*), a.b FROM t WHERE x >= 1.5 AND y <> 'z''s' -- c",
    "def f(x):\n    return {'k': [x**2, x != 3]}\n\tif f(1):\n\t\tpass\n",
    "🦎 salamandra 👩‍🔬 y 🇪🇸 €",
    "dos  espacios,   tres y    cuatro ",
    " un espacio delante",
    "líneas\n\ny\n\n\nmás líneas\r\ny retornos\n",
    '"comillas" «angulares» ‘simples’ … — guión · punto',
    "日本語 русский عربى ελληνικά",
    "a",
)


class GateFailed(UserError):
    """An exported file is not the model it was made from; nothing got a final name."""


@dataclass(frozen=True)
class Gate:
    """One check: `value` was measured, up to `limit` is allowed, `detail` says what was counted."""

    name: str
    passed: bool
    value: float
    limit: float
    detail: str


def require(gates: Sequence[Gate]) -> None:
    """Return if every gate passed.

    Raises:
        GateFailed: one line for each gate that did not.
    """
    if failed := [gate for gate in gates if not gate.passed]:
        raise GateFailed(*(f"export: gate {gate.name}: {gate.detail}" for gate in failed))


def spread(num_all: int, num: int) -> list[int]:
    """Up to `num` indices spread evenly over `num_all`."""
    return [i * num_all // min(num, num_all) for i in range(min(num, num_all))]


@torch.inference_mode()
def last_logits(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Logits [<= POSITIONS, V] at the end of each prompt (float32, one prompt at a time)."""
    return [
        model(input_ids=torch.tensor([list(ids)]), logits_to_keep=POSITIONS).logits[0].float()
        for ids in prompts
    ]


def adapted_logits(
    model_dir: Path, checkpoint: Path, prompts: Sequence[Sequence[int]], *, method: TrainingMethod
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """`last_logits` of what was tuned and of the base alone, computed in float32."""
    model = method.reload(model_dir, checkpoint)
    adapted = last_logits(model, prompts)
    with method.untuned(model):
        return adapted, last_logits(model, prompts)


def gate_merged_logits(
    merged: Sequence[torch.Tensor],
    adapted: Sequence[torch.Tensor],
    base: Sequence[torch.Tensor],
    *,
    stored: torch.dtype,
) -> Gate:
    """The merged model answers as what was tuned does: `last_logits` of each on the same prompts.

    `stored` is the dtype of the merged weights; it decides how much rounding is allowed.
    """
    limit = LOGIT_LIMITS[stored]
    scale = float(torch.cat([row.flatten() for row in adapted]).std())
    pairs = list(zip(merged, adapted, strict=True))
    value = max(float((a - b).abs().max()) for a, b in pairs) / scale
    moved = max(float((a - b).abs().max()) for a, b in zip(adapted, base, strict=True)) / scale
    same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in pairs)
    total = sum(len(a) for a, _ in pairs)
    finite = all(bool(torch.isfinite(a).all()) for a, _ in pairs)
    return Gate(
        "merged logits",
        finite and value <= limit,
        value,
        limit,
        f"largest difference from the checkpoint {value:.1e} of the logits' spread (limit "
        f"{limit:g}; the tuning moves them by {moved:.1e}), same first choice at {same}/{total} "
        f"positions of {len(pairs)} prompts",
    )


def gate_token_ids(
    llama: LlamaServer,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompts: Sequence[Sequence[int]],
    chat: bool,
) -> Gate:
    """llama.cpp cuts probe texts and the text of real prompts into the base tokenizer's ids."""
    texts = probe_texts(tokenizer, chat=chat) + [decode(tokenizer, ids) for ids in prompts]
    different = []
    for text in texts:
        want = tokenizer(text, add_special_tokens=False).input_ids
        got = llama.tokenize(text, add_special=False)
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), None)
            where = min(len(want), len(got)) if at is None else at
            different.append(
                f"{text[:40]!r} differs at token {where}: transformers "
                f"{want[where : where + 4]}, llama.cpp {got[where : where + 4]}"
            )
    counts = f"{len(texts) - len(different)}/{len(texts)} texts equal"
    detail = f"{counts}; {different[0]}" if different else counts
    return Gate("token ids", not different, len(different), 0, detail)


def gate_served_prompts(
    llama: LlamaServer,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompts: Sequence[Sequence[int]],
    chat: bool,
) -> Gate:
    """A prompt served as text, or as messages, is what was trained on: BOS once, or never."""
    bos = tokenizer.bos_token_id
    faults = []
    for ids in prompts:
        num_bos = leading(ids, bos)
        got = leading(llama.tokenize(decode(tokenizer, ids[num_bos:]), add_special=True), bos)
        if got != num_bos:
            faults.append(f"a prompt trained with {num_bos} BOS is served with {got}")
    talks = conversations(tokenizer) if chat else []
    for messages in talks:
        want = render(tokenizer, messages)
        if llama.render_chat(messages) != want.removeprefix(str(tokenizer.bos_token)):
            faults.append(f"the chat template renders {want[:60]!r} differently in llama.cpp")
    total = len(prompts) + len(talks)
    counts = f"{total - len(faults)}/{total} prompts are served as trained"
    detail = f"{counts}; {faults[0]}" if faults else counts
    return Gate("served prompts", not faults, len(faults), 0, detail)


def tokenizer_flags(
    tokenizer: PreTrainedTokenizerBase, model_dir: Path, *, prompts: Sequence[Sequence[int]]
) -> dict[str, bool]:
    """Settings of the GGUF's tokenizer that follow from how the prompts were really made.

    A chat template mostly writes no BOS although the tokenizer would add one to plain text;
    llama.cpp's server would then put before every prompt a token that was never trained on.
    """
    flags = {}
    if (bos := tokenizer.bos_token_id) is not None:
        flags["add_bos_token"] = all(leading(ids, bos) > 0 for ids in prompts)
    if (model_dir / "tokenizer.model").is_file():
        # llama.cpp puts a space after every special token, or nowhere.
        first = decode(tokenizer, prompts[0][: 1 + leading(prompts[0], bos)])
        special = first if first in tokenizer.all_special_tokens else ""
        flags["add_prefix_space"] = _spaced(tokenizer, special)
    return flags


def probe_texts(tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> list[str]:
    """PROBES as they are and, for a chat model, as turns of a conversation."""
    if not chat:
        return list(PROBES)
    turns = [render(tokenizer, [{"role": "user", "content": text}]) for text in PROBES]
    turns += [render(tokenizer, messages) for messages in conversations(tokenizer)]
    # A space before the first word of a text but not after a special token is nothing that
    # llama.cpp can do; a chat prompt never starts with a word.
    special = str(tokenizer.eos_token)
    plain = PROBES if _spaced(tokenizer, "") == _spaced(tokenizer, special) else ()
    return turns + list(plain)


def conversations(tokenizer: PreTrainedTokenizerBase) -> list[list[Message]]:
    """One turn and three, without a system turn, which some templates refuse."""
    if not tokenizer.chat_template:
        return []
    one: list[Message] = [{"role": "user", "content": PROBES[0]}]
    return [
        one,
        [*one, {"role": "assistant", "content": PROBES[3]}, {"role": "user", "content": "y  más"}],
    ]


def render(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> str:
    """The prompt text that the base's chat template makes of `messages`."""
    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return str(text)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of `ids`, special tokens written out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))


def leading(ids: Sequence[int], token: int | None) -> int:
    """How many times `ids` begins with `token`."""
    return next((i for i, other in enumerate(ids) if other != token), len(ids))


def _spaced(tokenizer: PreTrainedTokenizerBase, special: str) -> bool:
    """Whether the tokenizer puts a space before a word that follows `special` (or nothing)."""
    ids = tokenizer(f"{special}a", add_special_tokens=False).input_ids
    pieces = tokenizer.convert_ids_to_tokens(ids)
    return str(pieces[1 if special else 0]).startswith("\u2581")
