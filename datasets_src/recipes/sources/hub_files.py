"""Single files of a Hub dataset repository, by the huggingface_hub client and its cache.

download("PlanTL-GOB-ES/SQAC", "train.json", revision=None, key="options.hub_files")
Path("~/.cache/huggingface/hub/datasets--PlanTL-GOB-ES--SQAC/snapshots/…/train.json")
"""

from pathlib import Path

from datasets_src.errors import UserError


def download(repo_id: str, name: str, *, revision: str | None, key: str) -> Path:
    """The local path of a file; cached files are not downloaded again.

    Raises:
        UserError: no such repository, revision or file, no read access, or no connection.
    """
    import httpx2
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo_id, name, repo_type="dataset", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{key}: {name} of the dataset {repo_id} cannot be read ({reason}); see which files"
            f" https://huggingface.co/datasets/{repo_id}/tree/{revision or 'main'} holds, or give"
            " files on your disk by options.files"
        ) from None
