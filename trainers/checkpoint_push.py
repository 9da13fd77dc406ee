"""A checkpoint's adapter on its way to a branch of the adapter repository (hub.push=every_save).

enqueue_checkpoint(run_dir, config=config, checkpoint=path, step=140)   # branch step-000140
drain(run_dir, hub=config.hub)
"""

from pathlib import Path

from trainers.card import card_text
from trainers.config import Config
from trainers.hub import repo_id_for
from trainers.outbox import OutboxItem, enqueue

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def enqueue_checkpoint(run_dir: Path, *, config: Config, checkpoint: Path, step: int) -> OutboxItem:
    """Put the adapter and its card in the outbox; sends nothing.

    Raises:
        FileNotFoundError: the checkpoint has no adapter.
    """
    branch = f"step-{step:06d}"
    return enqueue(
        run_dir,
        kind="checkpoint",
        folder=checkpoint,
        files=ADAPTER_FILES,
        repo_id=repo_id_for(config.hub, "checkpoint"),
        branch=branch,
        message=f"{branch} of {config.run_name}",
        card=card_text(run_dir, config=config, kind="checkpoint"),
    )
