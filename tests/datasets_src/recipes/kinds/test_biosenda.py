"""The authors' raw material: what a query gives, the sides, the shape of the whole."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datasets_src.recipes.build import build, open_recipe
from datasets_src.recipes.contract import Item
from datasets_src.recipes.kinds import biosenda
from jobs.common.recipe_load import load_recipe

ROOT = Path(__file__).resolve().parents[4]
DATA = ROOT.parent / "shared/data/biosenda"
RECIPE = ROOT / "jobs/recipes/biosenda.yaml"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"{DATA} is absent: the authors' data does not ship"
)


@pytest.fixture(scope="module")
def material() -> biosenda.Material:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        options = open_recipe(load_recipe(RECIPE)).options
        assert isinstance(options, biosenda.Options)
        return biosenda.open_material(options)


def test_the_work_is_44_prompts_of_50_species_and_7_held_out(material: biosenda.Material) -> None:
    items = list(biosenda.items(material))
    assert all(isinstance(item, Item) for item in items)
    sides = Counter(item.data[0].split for item in items if isinstance(item, Item))
    assert sides == {"train": 44 * 50, "validation": 7 * 5}
    for item in items:
        wish, species = item.data
        assert (species.id in material.held_out) == (wish.split == "validation")
        assert (len(wish.wordings), len(species.descriptions)) == (3, 3)


def test_results_are_those_the_authors_pipeline_gave(material: biosenda.Material) -> None:
    """Of the rebuilt training inputs every 20th; a query without ORDER BY leaves the order open."""
    rows = pq.read_table(DATA / "description_train_recipe_inputs.parquet").to_pylist()[::20]
    sql = {wording: wish.sql for wish in material.wishes for wording in wish.wordings}
    exact = 0
    for row in rows:
        query = sql[row["prompt"]].replace("<idtaxon>", str(row["idtaxon"]))
        found = material.table.rows(query)
        ours, theirs = json.dumps(found, indent=2), row["sql_json"]
        exact += ours == theirs
        if len(found) < material.options.max_rows:
            assert _multiset(found) == _multiset(json.loads(theirs)), row["prompt"]
        else:
            assert len(found) == len(json.loads(theirs))
    assert exact > 0.8 * len(rows)


def _multiset(rows: list[dict[str, Any]]) -> Counter[str]:
    """12.0 of a SQL Server is the 12 of ours."""
    return Counter(
        json.dumps({k: float(v) if isinstance(v, int) else v for k, v in row.items()})
        for row in rows
    )


def test_a_small_build_fills_what_can_be_derived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    given = [f"output_dir={tmp_path}", "species_per_prompt=1", "species_per_held_out_prompt=1"]
    built = build(open_recipe(load_recipe(RECIPE, given)), None)
    record = built.record
    # 23 of 44 prompts need no teacher, and 4 of 7.
    assert record["num_rows"] == {"train": 23 * 9, "validation": 4 * 9, "unfilled": 24 * 9}
    assert record["licenses"] == {"CC-BY-SA-4.0": 51 * 9}
    assert len(record["lengths"]["beside"]) == 7
