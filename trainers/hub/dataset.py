"""Push a built dataset to a dataset repository of the Hub, through its own outbox.

check_dataset_hub(recipe)           before the first row: token, rights, repository
push_dataset(recipe, directory)     -> "pushed     dataset    me/fauna main 3f2a9c1e"

A failed push stays in <output_dir>/.outbox/<build_name>; the same build retries it.
"""

from pathlib import Path

from datasets_src.recipes.config import RecipeConfig
from trainers.config.schema import HubConfig
from trainers.hub.client import check_hub
from trainers.hub.outbox import PushResult, drain, enqueue

OUTBOX = ".outbox"


def check_dataset_hub(recipe: RecipeConfig) -> None:
    """Detect now what would fail after all rows are built; creates the repository.

    Raises:
        UserError: see `check_hub`.
    """
    check_hub(_hub_of(recipe), kinds=("dataset",))


def push_dataset(recipe: RecipeConfig, directory: Path) -> PushResult:
    """Push the files of a dataset in one commit. A failure is in the result, not raised."""
    assert recipe.hub_dataset_id is not None
    outbox_dir = directory.parent / OUTBOX / directory.name
    enqueue(
        outbox_dir,
        kind="dataset",
        folder=directory,
        repo_id=recipe.hub_dataset_id,
        message=directory.name,
    )
    results = drain(outbox_dir, hub=_hub_of(recipe))
    newest = results[-1] if results else None
    return newest or PushResult("dataset", recipe.hub_dataset_id, "main", "unchanged")


def _hub_of(recipe: RecipeConfig) -> HubConfig:
    return HubConfig(
        push="best",
        hub_model_id=recipe.hub_dataset_id,
        hub_private_repo=recipe.hub_private_repo,
        hub_token_path=recipe.hub_token_path,
    )
