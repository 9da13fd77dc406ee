"""Prose keeps to the terms of docs/glossary.md: words with a better term are refused."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each with what to write instead.
CRUTCHES = {
    r"told": "reported, given, stated",
    r"go(es)? on|going on|went on": "continue, resume",
    r"(?<!\")besides?": "next to, during, in addition, baselines",
    r"anew": "again, from scratch",
    r"hears?|heard": "receive",
    r"(stands?|stood)(?! for)": "is, remains, applies",
    r"mend(s|ed|ing)?": "fix",
    r"begun": "started",
    r"said": "emitted, printed, reported",
    r"so (many|much|few)": "name the number",
    r"at the most": "at most",
    r"leaves? word|no word of any": "heartbeat, message",
    r"(?<!there )(is|are) no (task|override|directory|metric|method|config|number|file|json|doi)": (
        "is not a, unknown"
    ),
}
PATTERN = re.compile(rf"\b({'|'.join(CRUTCHES)})\b", re.IGNORECASE)
CHECKED = (".py", ".md", ".yaml", ".j2", ".js", ".sbatch", ".toml")
# Written in Spanish, or a record of what was.
EXEMPT = (
    "datasets_src/generators/",
    "datasets_src/shipped/",
    "CHANGELOG.md",
    "tests/test_words.py",
)


def crutches(text: str) -> list[str]:
    return [match[0].lower() for match in PATTERN.finditer(text)]


def prose_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    return [n for n in listed.split() if n.endswith(CHECKED) and not n.startswith(EXEMPT)]


@pytest.mark.parametrize("name", prose_files())
def test_prose_uses_the_fields_terms(name: str) -> None:
    assert crutches((ROOT / name).read_text(encoding="utf-8")) == []


def test_the_lint_sees_a_crutch() -> None:
    assert crutches("The driver is told; it goes on beside the workers.") == [
        "told",
        "goes on",
        "beside",
    ]
    assert crutches("A standard tool; the Golden Standard; foretold") == []
