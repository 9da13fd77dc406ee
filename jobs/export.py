"""Export a run's best checkpoint: adapter -> merged -> GGUF, each verified against the one before.

python -m jobs.export runs/demo
python -m jobs.export runs/demo gguf_types=[q8_0] push=best hub_model_id=me/demo

`jobs.finetune` does this at its end; this does it again, or with other export and hub keys.
"""

from pathlib import Path

from datasets_src.errors import UserError
from jobs.common.cli import parse_run, run_verb
from trainers.storage.json_files import read_json


def main(argv: list[str]) -> int:
    """Export the best checkpoint of a run directory; exit code 0, or a UserError."""
    run_dir, config = parse_run("export", __doc__, argv)
    record = read_json(run_dir / "run.json")
    model_dir, prepared_dir = (_recorded(record, run_dir, k) for k in ("model_dir", "prepared_dir"))
    # Only now: torch takes seconds to import, a fault above needs none of it.
    from trainers.export.export import export_best

    export_best(run_dir, config=config, model_dir=model_dir, prepared_dir=prepared_dir)
    print(f"export    {run_dir / 'export'}")
    return 0


def _recorded(record: dict[str, object], run_dir: Path, key: str) -> Path:
    """A directory that run.json names; the run was made with it and it must be there still."""
    path = Path(str(record.get(key, "")))
    if key not in record or not path.is_dir():
        raise UserError(
            f"{run_dir / 'run.json'}: {key} is {record.get(key, 'not recorded')!r}, which is no "
            "directory here; run `python -m jobs.finetune` with this run's config.yaml again"
        )
    return path


if __name__ == "__main__":
    run_verb(main)
