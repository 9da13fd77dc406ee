"""Imports go one way, Ray stays at the edges, folders and files stay small.

Each rule is a function of a file's path and source, so that a planted fault shows that it can fail.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
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
# The rooms of a package: each imports only what is to its left, and its own files.
LAYERS = {
    "trainers": "process config kernels models methods storage lease run step generation "
    "evaluation hub export report supervision train_state loop worker driver",
    "datasets_src": "types errors retry_after files config_errors split batching chat config task "
    "reading prepared examples pipeline text query_json papers sql tasks recipes scoring "
    "generators",
    "tune": "space config strategy trials leaderboard resources refit trainable runner checks "
    "search",
    "jobs": "common prepare build plan evaluate export publish finetune sweep quickstart",
}
# Where Ray may be imported; everything else runs and is tested without it.
RAY_ROOMS = (
    "trainers/driver.py",
    "trainers/worker.py",
    "trainers/supervision/",
    "trainers/evaluation/scoring_pool.py",
    "datasets_src/pipeline.py",
    "tune/runner.py",
    "tune/trainable.py",
    "tune/search.py",
    "jobs/common/ray_session.py",
    "cluster/nodes.py",
)
# Ray's private modules: ray_internals.py checks the version and has public fallbacks. A cluster's
# nodes have no public API, so the agent that drains them fails with another Ray.
PRIVATE_RAY_ROOMS = (
    "trainers/supervision/ray_internals.py",
    "trainers/supervision/ray_trainer.py",
    "cluster/nodes.py",
)
PRIVATE_RAY = re.compile(r"ray\.(_\w+|core\.generated|.*\._internal)")
# What these hold is read on a laptop, before anything heavy is imported.
LIGHT = ("process", "config", "storage", "lease", "run", "hub", "report", "supervision/protocol.py")
HEAVY = {"torch", "ray", "transformers"}
MAX_LINES = 300
MAX_FILES = 14

FILES = sorted(p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py"))
FOLDERS = sorted({p.parent for p in [*FILES, *(ROOT / "tests").rglob("*.py")]})


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_modules(source: str) -> list[str]:
    """Dotted names that `source` imports, with the names taken from a package appended to it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def upward_imports(path: str, source: str) -> list[str]:
    """Imports of `source` that go against the order of packages or of the rooms in a package."""
    package, *rest = path.removesuffix(".py").split("/")
    rooms, faults = LAYERS.get(package, "").split(), []
    for name in imported_modules(source):
        root, *below = name.split(".")
        if root in MAY_IMPORT and root not in MAY_IMPORT[package]:
            faults.append(name)
        elif root == package and rooms and rest != ["__init__"]:
            faults += [name] if rooms.index(below[0]) > rooms.index(rest[0]) else []
    return faults


def ray_imports(path: str, source: str) -> list[str]:
    """Imports of Ray, or of its private modules, where they may not be imported."""
    names = [n for n in imported_modules(source) if n.split(".")[0] == "ray"]
    if path.startswith(PRIVATE_RAY_ROOMS):
        return []
    if path.startswith(RAY_ROOMS):
        return [name for name in names if PRIVATE_RAY.match(name)]
    return names


def test_every_package_has_an_empty_init() -> None:
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").read_text() == "", folder


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_is_small_imports_one_way_and_ray_only_at_the_edges(path: Path) -> None:
    source, name = path.read_text(encoding="utf-8"), relative(path)
    assert upward_imports(name, source) == []
    assert ray_imports(name, source) == []
    assert source.count("\n") <= MAX_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_a_folder_holds_what_can_be_kept_in_mind(folder: Path) -> None:
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MAX_FILES, Counter(files)


def test_the_rules_see_what_they_forbid() -> None:
    upward = "from trainers.driver import fit"
    assert upward_imports("trainers/loop.py", upward) == ["trainers.driver.fit"]
    assert upward_imports("trainers/storage/local.py", "from trainers.run import state") != []
    assert upward_imports("datasets_src/split.py", "from jobs.common.cli import x") != []
    assert upward_imports("trainers/driver.py", "from trainers.loop import run") == []
    assert ray_imports("trainers/step/zero.py", "import ray.train") == ["ray.train"]
    assert ray_imports("trainers/driver.py", "import ray") == []
    assert ray_imports("trainers/driver.py", "from ray._private import state") != []
    assert ray_imports("tune/runner.py", "from ray.train.v2._internal.x import y") != []


@pytest.fixture(scope="module")
def light_modules() -> list[str]:
    names = [relative(path).removesuffix(".py").replace("/", ".") for path in FILES]
    prefixes = tuple(f"trainers.{name.removesuffix('.py').replace('/', '.')}" for name in LIGHT)
    return [n for n in names if n.startswith(prefixes) and not n.endswith("__init__")]


def test_what_checks_a_config_loads_nothing_heavy(light_modules: list[str]) -> None:
    """A fault in a YAML is reported on a laptop at once, not after half a minute of imports."""
    code = (
        "import importlib, sys\n"
        f"for name in {['jobs.common.cli', *light_modules]!r}:\n"
        "    importlib.import_module(name)\n"
        f"    assert not {HEAVY!r} & set(sys.modules), name\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert len(light_modules) > 30
