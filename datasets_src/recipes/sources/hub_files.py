"""Single files of a dataset repository on the Hub, by the Hub's own client and its cache.

download("PlanTL-GOB-ES/SQAC", "train.json", revision=None, key="options.hub_files")
Path("~/.cache/huggingface/hub/datasets--PlanTL-GOB-ES--SQAC/snapshots/…/train.json")
"""

from pathlib import Path

from datasets_src.errors import UserError


def download(repo_id: str, name: str, *, revision: str | None, key: str) -> Path:
    """The file on disk; what was downloaded before is not asked for again.

    Raises:
        UserError: no such repository, revision or file, no right to read it, or no connection.
    """
    import httpx2
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo_id, name, repo_type="dataset", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        message = str(error).strip().split("\n")[0]
        raise UserError(
            f"{key}: {name} of the dataset {repo_id} cannot be read ({message}); see which files"
            f" https://huggingface.co/datasets/{repo_id}/tree/{revision or 'main'} holds, or give"
            " files on your disk by options.files"
        ) from None
