"""Greedy replies of a GGUF file to any prompts."""

from collections.abc import Sequence
from pathlib import Path

from datasets_src.chat.families import PRESETS
from datasets_src.chat.tokenise import read_format
from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.export.llama_server import LlamaServer
from trainers.export.prompts import probe_prompts
from trainers.export.token_gates import gate_token_ids
from trainers.generation.offline import OnBatch
from trainers.generation.replies import Reply, stop_strings, with_opened_thinking
from trainers.models.load import load_tokenizer
from trainers.process.machine import num_cores

CONTEXT_SLACK = 32


def answer_with_gguf(
    gguf: Path,
    config: Config,
    model_dir: Path,
    prompts: Sequence[Sequence[int]],
    *,
    on_batch: OnBatch = lambda done: None,
) -> list[Reply]:
    """Greedy replies of llama.cpp.

    Raises:
        UserError: a preset that is not greedy; a file of another base than `model_dir`.
    """
    settings = config.eval
    if PRESETS[settings.generation_preset].strategy != "greedy":
        raise UserError(
            f"eval.generation_preset: {settings.generation_preset}, but a GGUF file is answered "
            "greedily; set generation_preset=greedy"
        )
    context = max(map(len, prompts)) + settings.max_new_tokens + CONTEXT_SLACK
    replies = []
    with LlamaServer(gguf, context_tokens=context, num_threads=num_cores()) as llama:
        fmt = read_format(model_dir, config.data.template)
        gate = gate_token_ids(llama, fmt, probe_prompts(fmt))
        tokenizer = load_tokenizer(model_dir)
        if not gate.passed:
            raise UserError(
                f"--gguf: {gguf} tokenises prompts differently from {model_dir} ({gate.detail}); "
                "set model_name_or_path to the base that it was made from"
            )
        for prompt in prompts:
            done = llama.complete(
                prompt, max_new_tokens=settings.max_new_tokens, stop=stop_strings(config)
            )
            replies.append(Reply(done.text.strip(), done.ids, stopped=done.ended != "limit"))
            on_batch(1)
    return with_opened_thinking(tokenizer, prompts, replies)
