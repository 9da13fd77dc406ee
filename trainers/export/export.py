"""The best checkpoint as files that others can use, each compared with the one before.

export_best(Path("runs/demo"), config=config, model_dir=base, prepared_dir=prepared.directory)

Best adapter (pushed before anything is made of it) -> merged model -> GGUF files. A part is made
under export/.making and gets its final name when its gates have passed; a part that is rejected
costs no other. A fully tuned model has no adapter: its weights take the place of the base's.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from datasets_src.errors import UserError
from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.export import gates as g
from trainers.export.artifact import Artifact, Part, describe_file, describe_folder
from trainers.export.gguf import GgufType, convert
from trainers.export.llama_server import LlamaServer
from trainers.export.parts import Export
from trainers.export.prompts import probe_prompts
from trainers.export.reply_gates import gate_replies
from trainers.export.token_gates import token_gates, tokenizer_settings
from trainers.hub.client import Kind
from trainers.hub.push import push_exports
from trainers.methods.choose import method_module
from trainers.models.load import load_base
from trainers.models.weight_files import weight_bytes
from trainers.run.scores import best_score
from trainers.storage.checkpoints import damage
from trainers.storage.json_files import read_jsonl

NUM_LOGIT_PROMPTS = 16
CONTEXT_SLACK = 32


def export_best(
    run_dir: Path,
    *,
    config: Config,
    model_dir: Path,
    prepared_dir: Path,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Export the checkpoint with the best score and return what artifact.json holds.

    The same call again makes only what is missing or was rejected.

    Raises:
        GateFailed: a part is not the model it was made from; the other parts are there.
        UserError: no scored checkpoint, no room, a model that cannot be merged or converted.
    """
    best, checkpoint = find_best(run_dir)
    export = Export(run_dir, config, model_dir, prepared_dir, checkpoint, say)
    artifact = Artifact(run_dir, best, export.parts, keep_failed=export.keeps_failed)
    _remove_all_but(export, artifact)
    missing, score = artifact.missing, best.metrics[best.metric]
    if not missing:
        say(f"export    {best.name} is exported already ({export.folder})")
    else:
        say(f"export    {best.name}, {best.metric} {score:.3f}, best of the run")
        with _making(export, missing):
            _make(export, artifact)
    pushed = {"adapter"}.intersection(missing)
    _push(export, best.name, [part for part in artifact.parts if part not in pushed])
    _require(export, artifact)
    return artifact.content()


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


def check_room(export: Export, missing: Sequence[str]) -> None:
    """Refuse to begin what the storage cannot hold."""
    need = weight_bytes(export.model_dir) * sum(part != "adapter" for part in missing)
    free = shutil.disk_usage(export.folder).free
    if free < need:
        raise UserError(
            f"output_dir: exporting needs {need / 2**30:.1f} GiB in {export.folder}, "
            f"{free / 2**30:.1f} GiB are free; make room, or set gguf_types=[q8_0]"
        )


def _remove_all_but(export: Export, artifact: Artifact) -> None:
    """Remove what an earlier export left that is of another checkpoint, not whole or not wanted."""
    kept = {export.file_name(part) for part in artifact.parts}
    export.folder.mkdir(parents=True, exist_ok=True)
    for path in (export.making, export.folder / "adapter", export.folder / "merged"):
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
    for path in export.folder.glob("*.gguf"):
        if path.name not in kept:
            path.unlink()
    artifact.write()


@contextmanager
def _making(export: Export, missing: Sequence[str]) -> Iterator[None]:
    """The folder `making`, removed at the end."""
    export.making.mkdir()
    try:
        check_room(export, missing)
        yield
    finally:
        shutil.rmtree(export.making, ignore_errors=True)


def _make(export: Export, artifact: Artifact) -> None:
    """Make what is missing, part by part; GGUF files only of a merged model that was accepted."""
    for part in artifact.missing:
        if part == "adapter":
            _copy_adapter(export)
            _finish(export, artifact, part, [])
            _push(export, export.checkpoint.name.partition(".")[0], [part])
        elif part == "merged":
            facts, gate = _merge(export)
            _finish(export, artifact, part, [gate], facts)
        elif "merged" in artifact.parts:
            outtype: GgufType = "f16" if part == "f16" else "q8_0"
            path = export.making / export.file_name(part)
            settings = tokenizer_settings(export.fmt, export.prompts)
            convert(export.folder / "merged", path, outtype=outtype, tokenizer_settings=settings)
            export.say(f"converted {path.name}, {path.stat().st_size / 2**20:.1f} MiB")
            _finish(export, artifact, part, _check_gguf(export, path, part), {"type": part})


def _finish(
    export: Export,
    artifact: Artifact,
    part: str,
    gates: Sequence[g.Gate],
    facts: Part | None = None,
) -> None:
    """Print the gates; give the part its final name if they passed, or export.gates is warn."""
    for gate in gates:
        export.say(f"gate      {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.detail}")
    made, final = (f / export.file_name(part) for f in (export.making, export.folder))
    if export.keeps_failed or all(gate.passed for gate in gates):
        made.rename(final)
        describe = describe_folder if final.is_dir() else describe_file
        artifact.record(part, gates, (facts or {}) | describe(export.run_dir, final))
    else:
        artifact.record(part, gates, None)
        export.say(f"rejected  {final.name}; what passed is kept in {export.folder}")


def _copy_adapter(export: Export) -> None:
    target = export.making / "adapter"
    target.mkdir()
    for name in method_module(export.config.method).FILES:
        shutil.copyfile(export.checkpoint / name, target / name)


def _merge(export: Export) -> tuple[Part, g.Gate]:
    """Merge, and compare the logits with those of what was tuned."""
    method, merged = method_module(export.config.method), export.making / "merged"
    report = method.merge(export.model_dir, export.checkpoint, merged)
    export.say(
        f"merged    {report.num_merged} of {report.num_tensors} tensors in {report.seconds:.1f} s"
    )
    ids = [prompt.ids for prompt in export.prompts]
    some = [ids[i] for i in g.spread(len(ids), NUM_LOGIT_PROMPTS)]
    adapted, base = g.adapted_logits(export.model_dir, export.checkpoint, some, method=method)
    logits = g.last_logits(load_base(merged, torch.float32), some)
    gate = g.gate_merged_logits(logits, adapted, base, stored=report.dtype)
    return {"num_merged": report.num_merged, "num_tensors": report.num_tensors}, gate


def _check_gguf(export: Export, path: Path, outtype: str) -> list[g.Gate]:
    prompts = [*probe_prompts(export.fmt), *export.prompts]
    longest = max(len(row.prompt) + len(row.ids) for row in export.references)
    longest = max(longest, *(len(prompt.ids) for prompt in prompts))
    with LlamaServer(path, context_tokens=longest + CONTEXT_SLACK) as llama:
        return [
            *token_gates(llama, export.fmt, prompts),
            *gate_replies(llama, export.references, outtype=outtype),
        ]


def _require(export: Export, artifact: Artifact) -> None:
    """Return if every gate passed, or export.gates is warn."""
    if export.keeps_failed or not artifact.failed:
        return
    retry = f"to keep the file nevertheless: python -m jobs.export {export.run_dir} gates=warn"
    raise g.GateFailed(
        *(
            f"export: {export.file_name(gate['part'])} is rejected by the gate {gate['name']}: "
            f"{gate['detail']}; {retry}"
            for gate in artifact.content()["gates"]
            if not gate["passed"]
        )
    )


def _push(export: Export, message: str, parts: Sequence[str]) -> None:
    """Push the parts that have their final name."""
    if export.config.hub.push == "none" or not parts:
        return
    folders: dict[Kind, tuple[Path, Sequence[str]]] = {}
    for part in parts:
        kind: Kind = "adapter" if part == "adapter" else "merged"
        if part == kind:
            root = export.folder / part
            names = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
            folders[kind] = (root, sorted(names))
    if ggufs := [export.file_name(p) for p in parts if p not in ("adapter", "merged")]:
        folders["gguf"] = (export.folder, ggufs)
    push_exports(
        export.run_dir, config=export.config, message=message, folders=folders, say=export.say
    )
