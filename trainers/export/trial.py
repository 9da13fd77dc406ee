"""The export is tried before the first step is paid for: seconds, no weights.

try_export(config, model_dir)

The converter reads the base's config.json and tokenizer, and the gates of the tokenizer run on its
vocabulary: what would reject the GGUF files after the training is found before it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from datasets_src.chat.tokenise import read_format
from datasets_src.errors import UserError
from trainers.config.schema import Config
from trainers.export.gates import Gate
from trainers.export.gguf import convert, converter_dir, converter_environment
from trainers.export.llama_server import LlamaServer
from trainers.export.prompts import probe_prompts
from trainers.export.token_gates import token_gates, tokenizer_settings

CHILD = Path(__file__).with_name("vocab_child.py")
CONTEXT = 1024


def try_export(config: Config, model_dir: Path, *, say: Callable[[str], None] = print) -> None:
    """Convert the vocabulary of the base and run the gates of its tokenizer on probe prompts.

    Raises:
        UserError: the converter refuses the base, or a gate fails and export.gates is strict.
    """
    gates = trial_gates(model_dir, config.data.template)
    failed = [gate for gate in gates if not gate.passed]
    for gate in failed:
        say(f"export    a GGUF of {model_dir.name} would fail the gate {gate.name}: {gate.detail}")
    if failed and config.export.gates == "strict":
        raise UserError(
            *(
                f"export.gguf_types: a GGUF of {model_dir} would fail the gate {gate.name} after "
                f"the training: {gate.detail}; set gates=warn to export it nevertheless, or "
                "gguf_types=[]"
                for gate in failed
            )
        )
    if not failed:
        names = ", ".join(gate.name for gate in gates)
        say(f"export    a GGUF of {model_dir.name} is possible: {names} passed on its vocabulary")


def trial_gates(model_dir: Path, template: str) -> list[Gate]:
    """The gates of the tokenizer on the vocabulary of `model_dir`.

    Raises:
        UserError: the converter refuses the model.
    """
    fmt = read_format(model_dir, template)
    prompts = probe_prompts(fmt)
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        vocab, served = Path(folder) / "vocab.gguf", Path(folder) / "served.gguf"
        settings = tokenizer_settings(fmt, prompts)
        convert(model_dir, vocab, outtype="vocab", tokenizer_settings=settings)
        tree = converter_dir()
        done = subprocess.run(
            [sys.executable, "-P", str(CHILD), str(vocab), str(served)],
            env=converter_environment(tree),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{CHILD.name} failed on {model_dir}: {done.stderr[-2000:]}")
        with LlamaServer(served, context_tokens=CONTEXT) as llama:
            return token_gates(llama, fmt, prompts)
