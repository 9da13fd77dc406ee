"""The best checkpoint as files that others can use, each proven against the one before.

export_best(Path("runs/demo"), config=config, model_dir=base, prepared_dir=prepared.directory)

Best adapter (pushed before anything is made of it) -> merged model -> GGUF. All is made under
export/.making and gets its final name only after every gate has passed. A fully tuned model has
no adapter: its weights take the place of the base's.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from datasets_src.errors import UserError
from datasets_src.prepared.store import open_split
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.export import gates as g
from trainers.export.artifact import ARTIFACT, describe_file, describe_folder, still_whole
from trainers.export.gguf import convert
from trainers.export.llama_server import LlamaServer
from trainers.export.reply_gates import Reference, answer, gate_replies
from trainers.generation.replies import stop_strings
from trainers.hub.client import Kind
from trainers.hub.push import push_exports
from trainers.methods.choose import method_module
from trainers.methods.rewrite_weights import MergeReport
from trainers.models.load import load_base, load_tokenizer
from trainers.run.scores import best_score
from trainers.storage.checkpoints import damage
from trainers.storage.json_files import read_jsonl, write_json

NUM_LOGIT_PROMPTS = 16
CONTEXT_SLACK = 32


@dataclass(frozen=True)
class Export:
    """One export: where it reads, where it makes (`making`), what it tells (`say`)."""

    run_dir: Path
    config: Config
    model_dir: Path
    prompts: tuple[tuple[int, ...], ...]
    say: Callable[[str], None]

    @property
    def folder(self) -> Path:
        """Where final names are."""
        return self.run_dir / "export"

    @property
    def making(self) -> Path:
        """Where all is made and checked."""
        return self.folder / ".making"

    @property
    def chat(self) -> bool:
        """Whether prompts went through the model's chat template."""
        return self.config.data.template == "chat"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is exported."""
        return export_kinds(self.config)

    def gguf_name(self, outtype: str) -> str:
        """File name of a GGUF of this run."""
        return f"{self.config.run_name}-{outtype}.gguf"


def export_kinds(config: Config) -> tuple[Kind, ...]:
    """What an export of a run makes, in the order in which it is made."""
    whole = config.method.method_type == "full"
    return ("merged", "gguf") if whole else ("adapter", "merged", "gguf")


def export_best(
    run_dir: Path,
    *,
    config: Config,
    model_dir: Path,
    prepared_dir: Path,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Export the checkpoint with the best score and return the artifact.json it wrote.

    The same call again finds the files as they were left and returns at once.

    Raises:
        GateFailed: a file is not the model it was made from; nothing has a final name.
        UserError: no scored checkpoint, no room, a model that cannot be merged or converted.
    """
    best, checkpoint = find_best(run_dir)
    types = config.export.gguf_types
    export = Export(run_dir, config, model_dir, validation_prompts(prepared_dir), say)
    if artifact := still_whole(run_dir, checkpoint=best.name, gguf_types=types):
        say(f"export    {best.name} is exported already ({run_dir / ARTIFACT})")
        _push(export, best.name, folder=export.folder, kinds=export.kinds)
        return artifact
    say(f"export    {best.name}, {best.metric} {best.metrics[best.metric]:.3f}, best of the run")
    _clear(export)
    check_room(export)
    try:
        if "adapter" in export.kinds:
            _copy_adapter(export, checkpoint)
            _push(export, best.name, folder=export.making, kinds=("adapter",))
        gates, report = _make(export, checkpoint)
        artifact = _finish(export, best, gates, report)
    finally:
        shutil.rmtree(export.making, ignore_errors=True)
    _push(export, best.name, folder=export.folder, kinds=("merged", "gguf"))
    return artifact


def find_best(run_dir: Path) -> tuple[Score, Path]:
    """The best score of a checkpoint (of equals the earliest) and the checkpoint's directory."""
    best = best_score(run_dir)
    if best is None:
        raise UserError(
            f"export: {run_dir} has no scored checkpoint; train it first: "
            "python -m jobs.finetune CONFIG.yaml"
        )
    # A step may have been saved by several attempts; the last line is the one that stayed.
    saved = [row for row in read_jsonl(run_dir / "checkpoints.jsonl") if row["step"] == best.step]
    paths = [run_dir / row["path"] for row in reversed(saved)]
    reasons = []
    for path in paths:
        if (reason := damage(path)) is None:
            return best, path
        reasons.append(f"{path.name}: {reason}")
    raise UserError(
        f"export: the best checkpoint {best.name} of {run_dir} is not there whole any more "
        f"({'; '.join(reasons) or 'no line in checkpoints.jsonl'}); restore it, or train again"
    )


def validation_prompts(prepared_dir: Path) -> tuple[tuple[int, ...], ...]:
    """Token ids of the prompt of every validation row."""
    split = open_split(prepared_dir, "validation")
    rows = [split.tokens(i) for i in range(len(split))]
    return tuple(tuple(row.input_ids[: row.prompt_len]) for row in rows)


def check_room(export: Export) -> None:
    """Refuse to begin what the storage cannot hold."""
    size = sum(f.stat().st_size for f in export.model_dir.glob("*.safetensors"))
    need = size * (1 + len(export.config.export.gguf_types))
    free = shutil.disk_usage(export.folder).free
    if free < need:
        raise UserError(
            f"output_dir: exporting needs {need / 2**30:.1f} GiB in {export.folder}, "
            f"{free / 2**30:.1f} GiB are free; make room, or set gguf_types=[q8_0]"
        )


def _clear(export: Export) -> None:
    """What an earlier export left is no longer the best, or not whole."""
    (export.run_dir / ARTIFACT).unlink(missing_ok=True)
    for path in (export.making, export.folder / "merged", export.folder / "adapter"):
        shutil.rmtree(path, ignore_errors=True)
    for path in export.folder.glob("*.gguf"):
        path.unlink()
    export.making.mkdir(parents=True)


def _copy_adapter(export: Export, checkpoint: Path) -> None:
    target = export.making / "adapter"
    target.mkdir()
    for name in method_module(export.config.method).FILES:
        shutil.copyfile(checkpoint / name, target / name)


def _make(export: Export, checkpoint: Path) -> tuple[list[g.Gate], MergeReport]:
    """Merge and convert under `making`; a gate that fails ends it before the next is tried."""
    say = export.say
    merged = export.making / "merged"
    report = method_module(export.config.method).merge(export.model_dir, checkpoint, merged)
    say(f"merged    {report.num_merged} of {report.num_tensors} tensors in {report.seconds:.1f} s")
    gate, references = _check_merged(export, checkpoint, merged, report.dtype)
    gates = [gate]
    _tell(gates, say)
    g.require(gates)
    tokenizer = load_tokenizer(export.model_dir)
    flags = g.tokenizer_flags(tokenizer, export.model_dir, prompts=export.prompts)
    for outtype in export.config.export.gguf_types:
        path = export.making / export.gguf_name(outtype)
        convert(merged, path, outtype=outtype, tokenizer_flags=flags)
        say(f"converted {path.name}, {path.stat().st_size / 2**20:.1f} MiB")
        found = _check_gguf(export, path, outtype, references)
        _tell(found, say)
        g.require(found)
        gates += found
    return gates, report


def _check_merged(
    export: Export, checkpoint: Path, merged: Path, stored: torch.dtype
) -> tuple[g.Gate, list[Reference]]:
    """The gate of the merged weights and, where a GGUF will need them, the replies."""
    config = export.config
    some = [export.prompts[i] for i in g.spread(len(export.prompts), NUM_LOGIT_PROMPTS)]
    method = method_module(config.method)
    adapted, base = g.adapted_logits(export.model_dir, checkpoint, some, method=method)
    model = load_base(merged, torch.float32)
    gate = g.gate_merged_logits(g.last_logits(model, some), adapted, base, stored=stored)
    if not gate.passed or not config.export.gguf_types:
        return gate, []
    export.say(f"replies   of the merged model to {len(export.prompts)} validation prompts ...")
    references = answer(
        model,
        load_tokenizer(export.model_dir),
        export.prompts,
        max_new_tokens=config.eval.max_new_tokens,
        stop=stop_strings(config),
        batch_size=config.eval.eval_batch_size,
    )
    return gate, references


def _check_gguf(
    export: Export, path: Path, outtype: str, references: Sequence[Reference]
) -> list[g.Gate]:
    tokenizer = load_tokenizer(export.model_dir)
    longest = max(len(row.prompt) + len(row.ids) for row in references)
    with LlamaServer(path, context_tokens=longest + CONTEXT_SLACK) as llama:
        return [
            g.gate_token_ids(llama, tokenizer, prompts=export.prompts, chat=export.chat),
            g.gate_served_prompts(llama, tokenizer, prompts=export.prompts, chat=export.chat),
            *gate_replies(llama, references, outtype=outtype),
        ]


def _tell(gates: Sequence[g.Gate], say: Callable[[str], None]) -> None:
    for gate in gates:
        say(f"gate      {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.detail}")


def _finish(
    export: Export, best: Score, gates: Sequence[g.Gate], report: MergeReport
) -> dict[str, Any]:
    """Give the final names; artifact.json comes last and says that all is there."""
    run_dir, folder = export.run_dir, export.folder
    for kind in export.kinds[:-1]:
        (export.making / kind).rename(folder / kind)
    ggufs = []
    for outtype in export.config.export.gguf_types:
        name = export.gguf_name(outtype)
        (export.making / name).rename(folder / name)
        ggufs.append({"type": outtype, **describe_file(run_dir, folder / name)})
    merged = describe_folder(run_dir, folder / "merged")
    artifact = {
        "checkpoint": best.name,
        "metric": best.metric,
        "score": best.metrics[best.metric],
        "adapter": describe_folder(run_dir, folder / "adapter")
        if "adapter" in export.kinds
        else None,
        "merged": merged | {"num_merged": report.num_merged, "num_tensors": report.num_tensors},
        "gguf": ggufs,
        "gates": [asdict(gate) for gate in gates],
    }
    write_json(run_dir / ARTIFACT, artifact)
    return artifact


def _push(export: Export, message: str, *, folder: Path, kinds: Sequence[Kind]) -> None:
    """Push what lies in `folder`, which is `making` or where final names are."""
    if export.config.hub.push == "none":
        return
    ggufs = [export.gguf_name(outtype) for outtype in export.config.export.gguf_types]
    folders: dict[Kind, tuple[Path, Sequence[str]]] = {}
    for kind in kinds:
        if kind != "gguf":
            names = [path.name for path in (folder / kind).iterdir() if path.is_file()]
            folders[kind] = (folder / kind, sorted(names))
        elif ggufs:
            folders[kind] = (folder, ggufs)
    push_exports(
        export.run_dir, config=export.config, message=message, folders=folders, say=export.say
    )
