"""One export: where it reads and writes, its parts, its prompts and the merged model's replies.

export = Export(run_dir, config, model_dir, prepared_dir, checkpoint, print)
export.parts            # ("adapter", "merged", "f16", "q8_0")
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from datasets_src.chat.tokenise import TextFormat, read_format
from trainers.config.schema import Config
from trainers.export.prompts import Prompt, validation_prompts
from trainers.export.reply_gates import Reference, answer
from trainers.generation.replies import stop_strings
from trainers.hub.client import Kind
from trainers.models.load import load_base, load_tokenizer


@dataclass(frozen=True)
class Export:
    """One export: where it reads, where it makes (`making`), where it prints (`say`)."""

    run_dir: Path
    config: Config
    model_dir: Path
    prepared_dir: Path
    checkpoint: Path
    say: Callable[[str], None]

    @property
    def folder(self) -> Path:
        """Where final names are."""
        return self.run_dir / "export"

    @property
    def making(self) -> Path:
        """Where a part is made and checked."""
        return self.folder / ".making"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is exported, in the order in which it is made."""
        folders = [kind for kind in export_kinds(self.config) if kind != "gguf"]
        return (*folders, *self.config.export.gguf_types)

    @property
    def keeps_failed(self) -> bool:
        """Whether a part whose gate failed gets its name nevertheless."""
        return self.config.export.gates == "warn"

    def file_name(self, part: str) -> str:
        """Name of a part in its folder."""
        is_folder = part in ("adapter", "merged")
        return part if is_folder else f"{self.config.run_name}-{part}.gguf"

    @cached_property
    def fmt(self) -> TextFormat:
        """How prompts are tokenised."""
        return read_format(self.model_dir, self.config.data.template)

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompt of every validation row."""
        return tuple(validation_prompts(self.config, self.prepared_dir, self.fmt))

    @cached_property
    def references(self) -> list[Reference]:
        """The merged model's replies to all prompts; generated once."""
        self.say(f"replies   of the merged model to {len(self.prompts)} validation prompts ...")
        return answer(
            load_base(self.folder / "merged", torch.float32),
            load_tokenizer(self.model_dir),
            [prompt.ids for prompt in self.prompts],
            max_new_tokens=self.config.eval.max_new_tokens,
            stop=stop_strings(self.config),
            batch_size=self.config.eval.eval_batch_size,
        )


def export_kinds(config: Config) -> tuple[Kind, ...]:
    """What an export of a run makes, in the order in which it is made."""
    whole = config.method.method_type == "full"
    return ("merged", "gguf") if whole else ("adapter", "merged", "gguf")
