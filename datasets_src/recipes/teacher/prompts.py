"""Prompts to the teacher: template checks before the first call, few-shot examples, filling in.

book = PromptBook({"options.rewrite": RULES}, {"options.rewrite": prompt})
book.messages(prompt, {"wish": "Más corto", "description": "La nutria …"})
-> [system, user + assistant per few-shot example, user: the filled template]
"""

import difflib
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.readers import read_rows
from datasets_src.recipes.contract import Prompt
from datasets_src.types import Message

ANSWER = "answer"
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Rules:
    """Allowed placeholders of a prompt (name -> meaning) and the required ones."""

    placeholders: Mapping[str, str]
    required: tuple[str, ...] = ()


def check_prompt(key: str, prompt: Prompt, rules: Rules) -> list[str]:
    """One line per fault of the template."""
    try:
        named = [name for _, name, _, _ in string.Formatter().parse(prompt.template)]
    except ValueError as error:
        return [f"{key}.template: {error}; write {{{{ and }}}} for literal braces"]
    found = {name for name in named if name is not None}
    known = ", ".join(f"{{{name}}}" for name in rules.placeholders)
    faults = []
    for name in sorted(found - rules.placeholders.keys()):
        near = difflib.get_close_matches(name, rules.placeholders, n=1, cutoff=0.5)
        hint = f"did you mean {{{near[0]}}}? " if near else ""
        faults.append(f"{key}.template: unknown placeholder {{{name}}}; {hint}known: {known}")
    faults += [
        f"{key}.template: does not name {{{name}}} ({rules.placeholders[name]}), so answers would"
        f" not depend on it; add {{{name}}} to the template"
        for name in rules.required
        if name not in found
    ]
    return faults


class PromptBook:
    """All prompts of a recipe with their few-shot examples; `prompts` is keyed by YAML path.

    Raises:
        UserError: all faults of the templates, or the first of an examples file.
    """

    def __init__(self, rules: Mapping[str, Rules], prompts: Mapping[str, Prompt]) -> None:
        faults = [f for key, p in prompts.items() for f in check_prompt(key, p, rules[key])]
        if faults:
            raise UserError(*faults)
        self._examples = {
            prompt.model_dump_json(): list(_read_examples(key, prompt))
            for key, prompt in prompts.items()
        }

    def messages(self, prompt: Prompt, fields: Fields) -> list[Message]:
        """The messages of a request: system, few-shot turns, then the filled template."""
        messages: list[Message] = []
        if prompt.system:
            messages.append({"role": "system", "content": prompt.system})
        for example in self._examples_for(prompt, fields):
            messages.append({"role": "user", "content": fill(prompt, example)})
            messages.append({"role": "assistant", "content": example[ANSWER]})
        return [*messages, {"role": "user", "content": fill(prompt, fields)}]

    def _examples_for(self, prompt: Prompt, fields: Fields) -> Sequence[Fields]:
        """The first `num_examples` examples, only matching ones if there are any."""
        examples = self._examples[prompt.model_dump_json()]
        name = prompt.examples_match
        if name is not None:
            examples = [e for e in examples if e[name] == _text(fields[name])] or examples
        return examples[: prompt.num_examples]


def fill(prompt: Prompt, fields: Fields) -> str:
    """Fill the placeholders of the template."""
    return prompt.template.format_map({name: _text(value) for name, value in fields.items()})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read_examples(key: str, prompt: Prompt) -> Iterator[dict[str, str]]:
    if prompt.examples_file is None:
        return
    where = f"{key}.examples_file"
    parsed = string.Formatter().parse(prompt.template)
    names = [*dict.fromkeys(name for _, name, _, _ in parsed if name), ANSWER]
    if prompt.examples_match not in (None, *names):
        raise UserError(
            f"{key}.examples_match: {prompt.examples_match!r} is not in the template; use one of"
            f" {', '.join(names[:-1])}"
        )
    path = Path(prompt.examples_file).expanduser()
    for number, row in enumerate(read_rows(path, key=where), start=1):
        columns = {name: prompt.examples_columns.get(name, name) for name in names}
        if missing := [column for column in columns.values() if row.get(column) is None]:
            raise UserError(
                f"{where}: {path}: row {number} has no {', '.join(map(repr, missing))}; present:"
                f" {', '.join(row)}; set {key}.examples_columns"
            )
        yield {name: _text(row[column]) for name, column in columns.items()}
