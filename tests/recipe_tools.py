"""Builds recipes in this process, against a teacher and look-up services run by the test.

rows = build_rows("doi", {"papers": [...], "works_file": "…"}, tmp_path)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from datasets_src.recipes.build import Built, Endpoint, build, open_recipe
from datasets_src.recipes.config import RecipeConfig
from tests.servers.teacher_server import TeacherServer

Row = dict[str, Any]


def build_recipe(
    kind: str,
    options: Mapping[str, Any],
    output_dir: Path,
    *,
    teacher: TeacherServer | None = None,
    **more: Any,
) -> Built:
    """Build a recipe of this kind; `more` are further keys of the recipe."""
    config = RecipeConfig(
        build_name="demo",
        kind=kind,
        output_dir=str(output_dir),
        options=dict(options),
        teacher=None if teacher is None else {"base_url": teacher.base_url, "model": "demo"},
        **more,
    )
    endpoint = None if teacher is None else Endpoint(teacher.base_url, name="demo")
    return build(open_recipe(config), endpoint)


def rows_of(built: Built, part: str = "train") -> list[Row]:
    """The rows of one file of the dataset."""
    rows: list[Row] = pq.read_table(built.directory / "data" / f"{part}.parquet").to_pylist()
    return rows


def build_rows(
    kind: str,
    options: Mapping[str, Any],
    output_dir: Path,
    *,
    teacher: TeacherServer | None = None,
    **more: Any,
) -> list[Row]:
    """The training rows of a recipe of this kind."""
    return rows_of(build_recipe(kind, options, output_dir, teacher=teacher, **more))


def left_out(built: Built) -> dict[str, int]:
    """Number of dropped items by reason."""
    return {dropped["reason"]: dropped["num"] for dropped in built.record["dropped"]}
