"""Imports go one way, files stay small, `__init__.py` is empty."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each package and what of ours it may import.
MAY_IMPORT = {
    "jobs": {"jobs", "tune", "trainers", "datasets_src"},
    "tune": {"tune", "trainers", "datasets_src"},
    "trainers": {"trainers", "datasets_src"},
    "datasets_src": {"datasets_src"},
    "cluster": {"cluster"},
}
FILES = sorted(p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py"))


def imported_packages(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names.add((node.module or "").split(".")[0])
    return names & MAY_IMPORT.keys()


def test_every_package_is_there_and_has_an_empty_init() -> None:
    for package in MAY_IMPORT:
        assert (ROOT / package / "__init__.py").read_text() == ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way_and_files_stay_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    package = path.relative_to(ROOT).parts[0]
    assert imported_packages(source) <= MAY_IMPORT[package]
    assert source.count("\n") <= 300


def test_the_rule_sees_an_import_against_the_direction() -> None:
    assert imported_packages("from jobs.cli import x") == {"jobs"}


def test_config_is_read_without_torch_or_ray() -> None:
    """A fault in a YAML is told on a laptop at once, not after half a minute of imports."""
    import subprocess
    import sys

    code = "import jobs.cli, sys; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout.strip() == "set()", out
