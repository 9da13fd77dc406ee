"""A GGUF file splits prompts into the ids that were trained, and ends a reply where training did.

prompts = [*probe_prompts(fmt), *validation_prompts(config, prepared_dir, fmt)]
convert(merged, path, outtype="f16", tokenizer_settings=tokenizer_settings(fmt, prompts))
with LlamaServer(path, context_tokens=2048) as llama:
    gates = token_gates(llama, fmt, prompts)

All comparisons are of ids: trained = the file's own chat template on the messages = the rendered
prompt sent as text.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer

from datasets_src.chat.tokenise import TextFormat
from trainers.export.gates import Gate
from trainers.export.llama_server import LlamaServer
from trainers.export.prompts import Prompt, parsed

SPACE = "\u2581"  # SentencePiece's
SHOWN_IDS = 4


def token_gates(llama: LlamaServer, fmt: TextFormat, prompts: Sequence[Prompt]) -> list[Gate]:
    """All gates of a file's tokenizer; `served prompts` only where there is a chat template."""
    gates = [gate_token_ids(llama, fmt, prompts)]
    if fmt.template == "chat":
        gates.append(gate_served_prompts(llama, prompts))
    return [*gates, gate_stop(llama, fmt, prompts[0])]


def gate_token_ids(llama: LlamaServer, fmt: TextFormat, prompts: Sequence[Prompt]) -> Gate:
    """llama.cpp splits each rendered prompt, sent as text, into the trained ids."""
    bos = str(fmt.special_tokens.get("bos_token") or "")
    adds_bos = bool(bos) and bool(llama.tokenize("", add_special=True))
    faults = []
    for prompt in prompts:
        # Where a file adds BOS, a client leaves out the one that the template writes.
        text = prompt.text.removeprefix(bos) if adds_bos else prompt.text
        faults += _difference(prompt, llama.tokenize(text, add_special=True))
    return _gate("token ids", faults, prompts, "are split as trained")


def gate_served_prompts(llama: LlamaServer, prompts: Sequence[Prompt]) -> Gate:
    """The file's own chat template, rendered by llama.cpp, gives the trained ids."""
    faults = []
    for prompt in prompts:
        assert prompt.messages is not None
        text = llama.render_chat(prompt.messages)
        # A server tokenises a rendered chat as it does a text, after it has removed the BOS that
        # it is about to add.
        faults += _difference(prompt, llama.tokenize(text, add_special=True))
    return _gate("served prompts", faults, prompts, "are served as trained")


def gate_stop(llama: LlamaServer, fmt: TextFormat, prompt: Prompt) -> Gate:
    """llama.cpp ends a reply at the stop token that was trained."""
    ends = llama.ends_at(prompt.ids, fmt.stop_id)
    token = parsed(fmt.tokenizer_json).id_to_token(fmt.stop_id)
    how = "ends" if ends else "does not end"
    return Gate("stop", ends, float(not ends), 0, f"{token} ({fmt.stop_id}) {how} a reply")


def tokenizer_settings(fmt: TextFormat, prompts: Sequence[Prompt]) -> dict[str, bool | str]:
    """Settings of the GGUF's tokenizer that follow from how the prompts were really made.

    A chat template mostly writes no BOS although the tokenizer would add one to plain text;
    llama.cpp's server would then put a token before every prompt that was never trained. The
    converter prefers a template in tokenizer_config.json, transformers chat_template.jinja.
    """
    settings: dict[str, bool | str] = (
        {"chat_template": fmt.chat_template} if fmt.chat_template else {}
    )
    if fmt.bos_id is not None:
        # A BOS that comes again later is a turn's first token (SmolLM2), which a client writes.
        settings["add_bos_token"] = all(
            prompt.ids[0] == fmt.bos_id and fmt.bos_id not in prompt.ids[1:] for prompt in prompts
        )
    tokenizer = parsed(fmt.tokenizer_json)
    if tokenizer.token_to_id(SPACE) is not None:
        # llama.cpp adds a space after every special token and at the start, or nowhere.
        first = tokenizer.get_added_tokens_decoder().get(prompts[0].ids[0])
        special = first.content if fmt.template == "chat" and first is not None else ""
        settings["add_prefix_space"] = _adds_space(tokenizer, special)
    return settings


def _adds_space(tokenizer: Tokenizer, special: str) -> bool:
    """Whether the tokenizer adds a space before a word that follows `special` (or nothing)."""
    pieces = tokenizer.encode(f"{special}a", add_special_tokens=False).tokens
    return str(pieces[1 if special else 0]).startswith(SPACE)


def _difference(prompt: Prompt, got: Sequence[int]) -> list[str]:
    """What differs first, or nothing."""
    want = list(prompt.ids)
    if want == list(got):
        return []
    at = next((i for i, (a, b) in enumerate(zip(want, got, strict=False)) if a != b), None)
    at = min(len(want), len(got)) if at is None else at
    return [
        f"{prompt.text[:60]!r} differs at token {at}: trained {want[at : at + SHOWN_IDS]}, "
        f"llama.cpp {list(got[at : at + SHOWN_IDS])}"
    ]


def _gate(name: str, faults: Sequence[str], prompts: Sequence[Prompt], how: str) -> Gate:
    num = len(prompts) - len(faults)
    detail = f"{num}/{len(prompts)} prompts {how}"
    if num_normalised := sum(prompt.was_normalised for prompt in prompts):
        detail += f" ({num_normalised} normalised to the tokenizer's Unicode form first)"
    return Gate(name, not faults, len(faults), 0, f"{detail}; {faults[0]}" if faults else detail)
