"""Greedy replies of a GGUF file to any prompts."""

from collections.abc import Sequence
from pathlib import Path

from datasets_src.chat.families import PRESETS
from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.export.gates import gate_token_ids, spread
from trainers.export.llama_server import LlamaServer
from trainers.generation.offline import OnBatch
from trainers.generation.replies import Reply, stop_strings, with_prompt_s_thinking
from trainers.models.load import load_tokenizer
from trainers.process.machine import num_cores

CONTEXT_SLACK = 32
NUM_PARITY_PROMPTS = 16


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
        some = [prompts[i] for i in spread(len(prompts), NUM_PARITY_PROMPTS)]
        tokenizer = load_tokenizer(model_dir)
        gate = gate_token_ids(llama, tokenizer, prompts=some, chat=False)
        if not gate.passed:
            raise UserError(
                f"--gguf: {gguf} cuts texts otherwise than {model_dir} ({gate.detail}); set "
                "model_name_or_path to the base that it was made from"
            )
        for prompt in prompts:
            done = llama.complete(
                prompt, max_new_tokens=settings.max_new_tokens, stop=stop_strings(config)
            )
            replies.append(Reply(done.text.strip(), done.ids, stopped=done.ended != "limit"))
            on_batch(1)
    return with_prompt_s_thinking(tokenizer, prompts, replies)
