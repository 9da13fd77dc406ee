"""The table of published tokenizers and chat templates in docs/models.md.

python -m tests.real.table            # all kinds, about a minute each; prints the table
python -m tests.real.table qwen3      # some

Each kind is a tiny model with random weights and the published tokenizer (tests/real/models.py),
exported as after a training: f16 and Q8_0, all gates.
"""

import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer

from datasets_src.chat.tokenise import REPLY, TextFormat, chat_tokens, open_tokenizer, read_format
from datasets_src.errors import UserError
from datasets_src.types import Message
from tests.real.models import KINDS, build_model, resolved
from trainers.export.gates import Gate
from trainers.export.gguf import GgufType, convert
from trainers.export.llama_server import LlamaServer
from trainers.export.prompts import probe_prompts
from trainers.export.reply_gates import answer, gate_replies
from trainers.export.token_gates import token_gates, tokenizer_settings
from trainers.models.load import load_base, load_tokenizer

HEAD = ("model", "labels", "BOS", "stop", "system turn", "f16 gates", "Q8_0 gates")
NUM_REPLIES, MAX_NEW_TOKENS, CONTEXT = 4, 8, 1024
OUTTYPES: tuple[GgufType, ...] = ("f16", "q8_0")


def main(names: list[str]) -> int:
    """Print the table; exit code 1 if a cell is not as it must be."""
    rows = [row_of(name) for name in names or KINDS]
    for cells in (HEAD, ["---"] * len(HEAD), *rows):
        print("| " + " | ".join(cells) + " |")
    return int(any("FAILED" in cell for row in rows for cell in row))


def row_of(name: str) -> list[str]:
    """The cells of one kind."""
    print(name, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        out = Path(folder)
        base = build_model(name, out / "base")
        try:
            base = resolved(name, base)
            fmt = read_format(base, "chat")
            labels = label_cells(fmt)
            gates = [gate_cell(export_gates(base, fmt, outtype, out)) for outtype in OUTTYPES]
        except UserError as refused:
            return [name, f"refused: {refused.faults[0]}", *[""] * (len(HEAD) - 2)]
    return [name, *labels, *gates]


def label_cells(fmt: TextFormat) -> list[str]:
    """What is trained, how many BOS a prompt has, the stop, the system turn."""
    encode = open_tokenizer(fmt)
    turns = [Message(role="user", content="¿Cuántas rutas hay?")]
    with_system = [Message(role="system", content="Responde en SQL."), *turns]
    plain, system = chat_tokens(fmt, encode, [turns, with_system], [REPLY, REPLY])
    for row in (plain, system):
        if row.fault:
            return [f"FAILED: {row.fault}", "", "", ""]
    tokenizer = Tokenizer.from_str(fmt.tokenizer_json)
    trained = plain.input_ids[plain.prompt_len :]
    text = tokenizer.decode(trained[:-1], skip_special_tokens=False).strip()
    labels = "reply + stop" if text == REPLY and trained[-1] == fmt.stop_id else f"FAILED: {text!r}"
    num_bos = sum(id == fmt.bos_id for id in plain.input_ids[:2])
    stop = tokenizer.id_to_token(fmt.stop_id)
    return [labels, str(num_bos), f"`{stop}`", "merged" if fmt.merges_system else "kept"]


def export_gates(base: Path, fmt: TextFormat, outtype: GgufType, out: Path) -> list[Gate]:
    """All gates of a GGUF of `base`, written to the folder `out`."""
    prompts = probe_prompts(fmt)
    path = out / f"{outtype}.gguf"
    convert(base, path, outtype=outtype, tokenizer_settings=tokenizer_settings(fmt, prompts))
    references = answer(
        load_base(base, torch.float32),
        load_tokenizer(base),
        [prompt.ids for prompt in prompts[:NUM_REPLIES]],
        max_new_tokens=MAX_NEW_TOKENS,
        stop=(),
        batch_size=NUM_REPLIES,
    )
    with LlamaServer(path, context_tokens=CONTEXT) as llama:
        return [
            *token_gates(llama, fmt, prompts),
            *gate_replies(llama, references, outtype=outtype),
        ]


def gate_cell(gates: list[Gate]) -> str:
    """`5/5 pass`, or what failed."""
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        return f"FAILED: {failed[0].name}: {failed[0].detail}"
    return f"{len(gates)}/{len(gates)} pass"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
