"""Imports inside datasets_src/recipes go one way, in the order that build.py documents."""

from pathlib import Path

import pytest

from tests.test_architecture import imported_modules

RECIPES = Path(__file__).resolve().parents[3] / "datasets_src/recipes"
PACKAGE = "datasets_src.recipes."
ORDER = [
    "contract",
    "teacher",
    "services",
    "sources",
    "kinds",
    "lengths",
    "dependence",
    "config",
    "card",
    "dataset",
    "results",
    "work",
    "build",
]
FILES = sorted(path for path in RECIPES.rglob("*.py") if path.name != "__init__.py")


def layer_of(path: Path) -> str:
    return path.relative_to(RECIPES).with_suffix("").parts[0]


def wrong_imports(layer: str, source: str) -> list[str]:
    """Imports of a later layer, and of the teacher by the layers that must not know it."""
    names = [name for name in imported_modules(source) if name.startswith(PACKAGE)]
    found = [(name.removeprefix(PACKAGE).split(".")[0], name) for name in names]
    allowed = set(ORDER[: ORDER.index(layer) + 1])
    if layer in ("services", "sources", "kinds"):
        allowed.discard("teacher")
    return [name for other, name in found if other not in allowed]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(RECIPES).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    assert wrong_imports(layer_of(path), path.read_text(encoding="utf-8")) == []


def test_build_documents_the_order() -> None:
    text = " ".join((RECIPES / "build.py").read_text(encoding="utf-8").split())
    assert " < ".join(ORDER) in text


def test_the_rule_sees_what_it_forbids() -> None:
    assert wrong_imports("contract", "from datasets_src.recipes.teacher import cache") != []
    assert wrong_imports("kinds", "from datasets_src.recipes.teacher.cache import x") != []
    assert wrong_imports("kinds", "from datasets_src.recipes.sources import squad") == []
