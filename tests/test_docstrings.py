"""Example calls in module docstrings bind to the signatures they show; files they name exist."""

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jobs", "tune", "trainers", "datasets_src", "cluster")
# Programs of others that are run, not imported here.
NOT_IMPORTED = ("trainers/export/llama_child.py",)
FILES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py" and path.relative_to(ROOT).as_posix() not in NOT_IMPORTED
)
TEXTS = (".py", ".md", ".yaml", ".toml", ".sbatch", "Makefile")
PATH = re.compile(
    r"(?<![\w/.$<>{}~*…-])((?:jobs|tune|trainers|datasets_src|cluster|tests|docs)/[\w/.-]*\w)"
)
# A module by its file name alone: (zero.py).
MODULE = re.compile(r"\((\w+\.py)\)")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def example_calls(docstring: str) -> Iterator[ast.Call]:
    """The calls of the lines, and of runs of lines, of a docstring that are Python."""
    lines = docstring.splitlines()
    for start, line in enumerate(lines):
        if "(" not in line:
            continue
        for end in range(start + 1, min(start + 6, len(lines)) + 1):
            text = inspect.cleandoc("\n".join(lines[start:end]))
            text = re.sub(r"->.*$|   #.*$", "", text, flags=re.MULTILINE).strip().rstrip(":")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                continue
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))
            break


def bind_error(call: ast.Call, function: Any) -> str:
    """Why the call's arguments do not fit `function`; "" if they do. `...` is any argument."""
    signature = inspect.signature(function)
    shortened = any(isinstance(a, ast.Constant) and a.value is ... for a in call.args)
    starred = any(isinstance(a, ast.Starred) for a in call.args)
    names = {k.arg: None for k in call.keywords if k.arg is not None}
    if shortened or starred or len(names) < len(call.keywords):
        unknown = names.keys() - signature.parameters.keys()
        open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
        return f"no parameter {sorted(unknown)}" if unknown and not open_ended else ""
    try:
        signature.bind(*call.args, **names)
    except TypeError as error:
        return str(error)
    return ""


def wrong_calls(module: ModuleType, docstring: str) -> list[str]:
    """Example calls of this module's own functions and classes that do not bind."""
    faults = []
    for call in example_calls(docstring):
        if not isinstance(call.func, ast.Name):
            continue
        function = vars(module).get(call.func.id)
        if inspect.isroutine(function) or inspect.isclass(function):
            if getattr(function, "__module__", "").split(".")[0] not in PACKAGES:
                continue
            if error := bind_error(call, function):
                faults.append(f"{ast.unparse(call)}: {error}")
    return faults


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_example_calls_of_a_module_bind(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a file opens with what it does"
    module = importlib.import_module(relative(path).removesuffix(".py").replace("/", "."))
    assert wrong_calls(module, docstring) == []


def listed() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("name", [n for n in listed() if n.endswith(TEXTS)])
def test_files_that_a_text_names_exist(name: str) -> None:
    if name == "CHANGELOG.md":
        pytest.skip("a record of what was")
    text = (ROOT / name).read_text(encoding="utf-8")
    known = listed()
    folders = {parent.as_posix() for n in known for parent in Path(n).parents}
    modules = {Path(n).name for n in known}
    paths = {p.rstrip(".") for p in PATH.findall(text)}
    assert [p for p in sorted(paths) if p not in known and p not in folders] == []
    assert [m for m in MODULE.findall(text) if m not in modules] == []


def test_the_rules_see_what_they_forbid() -> None:
    def share(rows: list[int], *, rank: int) -> int:
        return rows[rank]

    module = ModuleType("example")
    share.__module__ = "trainers.example"
    vars(module)["share"] = share
    assert wrong_calls(module, "Shares.\n\nfound = share(rows, rank=0)     -> 3") == []
    assert wrong_calls(module, "Shares.\n\nshare(rows, ...)") == []
    assert len(wrong_calls(module, "Shares.\n\nshare(rows, world=2)")) == 1
    assert len(wrong_calls(module, "Shares.\n\n    share(rows,\n          1)")) == 1
    assert PATH.findall("see `docs/step.md` and /tmp/docs/none.md") == ["docs/step.md"]
