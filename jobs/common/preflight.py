"""What can be known before Ray starts and a single step is paid for."""

import importlib.util
import os
import shutil
from pathlib import Path

from datasets_src.errors import UserError
from datasets_src.task import EVAL_LOSS, checked_metric, load_task
from trainers.config.schema import Config
from trainers.models.weight_files import weight_bytes
from trainers.run.location import output_directory
from trainers.storage.object_store import RemoteStorage, is_remote

GIB = 2**30


def check_storage(config: Config, model_dir: Path) -> None:
    """Refuse storage that cannot be written or cannot hold the run.

    Needed: a merged model, its GGUF files, and checkpoints of what is trained and of the optimizer.
    """
    if is_remote(config.output_dir):
        RemoteStorage(config.output_dir).check()
    path = output_directory(config)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"gallipato")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"output_dir: {path} cannot be written ({error.strerror}); set output_dir to a "
            "directory you may write"
        ) from None
    needed, free = needed_bytes(config, model_dir), shutil.disk_usage(path).free
    if free < needed:
        raise UserError(
            f"output_dir: {path} has {free / GIB:.1f} GiB free, the run needs about "
            f"{needed / GIB:.1f} GiB; free some, set output_dir elsewhere or export_best=false"
        )


def check_metric(config: Config) -> None:
    """Refuse a metric that the task does not have."""
    name, key = config.eval.metric_for_best_model, "eval.metric_for_best_model"
    checked_metric(load_task(config.data.task), name, key=key, also=(EVAL_LOSS,))


def check_zero(config: Config) -> None:
    """Refuse ZeRO where DeepSpeed is not installed; it needs no compiler."""
    stage = config.scaling.zero_stage
    if stage and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            f"scaling.zero_stage: {stage}, but deepspeed is not installed; run pip install "
            "-c constraints.txt --group zero, on every node, or set zero_stage=0"
        )


def needed_bytes(config: Config, model_dir: Path) -> int:
    """Upper bound of the bytes that a run writes, from the size of the base's weights."""
    base = weight_bytes(model_dir)
    # LoRA at rank 64 on all layers is about 5 % of a 2B base; with AdamW's moments, three times.
    # A full checkpoint in bfloat16 is the base once, and in float32 its copy and two moments.
    save = 7 * base if config.method.method_type == "full" else 3 * base // 20
    checkpoints = (config.checkpoint.save_total_limit + 2) * save
    exported = int(base * (1 + len(config.export.gguf_types))) if config.export.export_best else 0
    return checkpoints + exported + 64 * 2**20
