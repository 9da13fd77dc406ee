"""The config of the rows that ship for a task: jobs/configs/<task>.yaml, or one that says so.

shipped_config("text2sql")     -> jobs/configs/quickstart.yaml
"""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def shipped_config(task: str) -> Path | None:
    """The config whose task it is and whose rows lie in this repository; the task's own first."""
    paths = sorted((ROOT / "jobs/configs").glob("*.yaml"), key=lambda p: (p.stem != task, p.stem))
    for path in paths:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]
        rows = (ROOT / data["train_file"]).resolve()
        if data.get("task", "text2sql") == task and rows.is_relative_to(ROOT):
            return path
    return None
