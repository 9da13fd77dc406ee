"""The reading path that README names is the one the code takes: each function calls the next."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# `work` is passed to Ray Train, which calls it on each worker.
PATH = (
    ("jobs/finetune.py", "main"),
    ("jobs/finetune.py", "finetune"),
    ("trainers/driver.py", "fit"),
    ("trainers/driver.py", "run_attempt"),
    ("trainers/worker.py", "work"),
    ("trainers/loop.py", "run"),
    ("trainers/loop.py", "train_one_step"),
    ("trainers/step/train_step.py", "train_step"),
    ("trainers/step/train_step.py", "step"),
)
MAX_FUNCTIONS, MAX_FILES = 9, 6


def functions(source: str) -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}


def mentions(function: ast.FunctionDef) -> set[str]:
    """Names and attributes that `function` itself calls or passes on as an argument."""
    found: set[str] = set()
    for call in (n for n in ast.walk(function) if isinstance(n, ast.Call)):
        for node in (call.func, *call.args):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
    return found


def path_functions() -> list[ast.FunctionDef]:
    return [functions((ROOT / file).read_text(encoding="utf-8"))[name] for file, name in PATH]


@pytest.mark.parametrize("index", range(len(PATH) - 1), ids=[name for _, name in PATH[:-1]])
def test_each_function_calls_the_next(index: int) -> None:
    assert PATH[index + 1][1] in mentions(path_functions()[index])


def test_the_last_one_takes_the_optimizers_step() -> None:
    assert "optimizer.step()" in ast.unparse(path_functions()[-1])


def test_the_path_is_short() -> None:
    assert len(PATH) <= MAX_FUNCTIONS
    assert len({file for file, _ in PATH}) <= MAX_FILES


def test_readme_names_these_files_in_this_order() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [line] = [text for text in readme.splitlines() if text.startswith("To read the code:")]
    assert re.findall(r"`([\w/]+\.py)`", line) == list(dict.fromkeys(file for file, _ in PATH))


def test_a_function_that_does_not_call_the_next_is_seen() -> None:
    [function] = functions("def run():\n    train_one_step(state)\n").values()
    assert "train_one_step" in mentions(function) and "work" not in mentions(function)
