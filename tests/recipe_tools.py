"""Recipes built in this process, with a teacher and look-ups that are servers of the test.

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
    """The dataset of a recipe of this kind; `more` are other keys of it."""
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
    """Rows of one of its files."""
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
    """The rows for training of a recipe of this kind."""
    return rows_of(build_recipe(kind, options, output_dir, teacher=teacher, **more))


def left_out(built: Built) -> dict[str, int]:
    """How many were left out for each reason."""
    return {dropped["reason"]: dropped["num"] for dropped in built.record["dropped"]}
