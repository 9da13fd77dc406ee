"""A published chat template with its choices written into it: thinking or not, and the date.

pin_template(template, special_tokens, enable_thinking=False)

    {%- set enable_thinking = false %}{%- set date_string = "26 Jul 2024" %}
    … the template as published …
    {%- if add_generation_prompt %}{{- "<think>\n\n</think>\n\n" }}{%- endif %}

Whoever serves the model renders the trained prompt with the template's default arguments, on any
day. llama.cpp passes `enable_thinking` and today's `date_string` to every template, so what is set
here overrides what is passed.
"""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

import jinja2

from datasets_src.chat.render import render, text_before_answer, with_reply
from datasets_src.errors import UserError
from datasets_src.types import Message

# The default of Llama 3.1's template.
PINNED = date(2024, 7, 26)
THINKING = ("enable_thinking", "thinking")
STRFTIME = re.compile(r"""strftime_now\(\s*(['"])((?:(?!\1).)*)\1\s*\)""")
OWN_DATE = re.compile(r"""date_string\s*=\s*(['"])(.+?)\1""")
PIN = re.compile(rf"{{%- set ({'|'.join(THINKING)}|date_string) = (true|false|\"[^\"]*\") %}}")
PROMPT_END = re.compile(r'\{%- if add_generation_prompt %\}\{\{- (".*") \}\}\{%- endif %\}\Z')
QUESTION = Message(role="user", content="Hola")
PROBES = ([QUESTION], [Message(role="system", content="Breve"), QUESTION])
REPLY = "Doce"


def pin_template(template: str, special_tokens: Mapping[str, Any], *, enable_thinking: bool) -> str:
    """`template` with thinking and date fixed; itself if it depends on neither.

    Without thinking, constant text between the generation prompt and the answer becomes a part of
    the generation prompt. The result is a fixed point.

    Raises:
        UserError: a date is formatted in a way that cannot be fixed, or the template rejects a user
            turn.
    """
    pinned, num_dates = STRFTIME.subn(lambda call: json.dumps(PINNED.strftime(call[2])), template)
    if "strftime_now(" in pinned:
        raise UserError(
            "model.model_name_or_path: its chat template calls strftime_now with a format that is "
            "not a literal, so its prompts would change from day to day; write the date into it"
        )
    own_date = OWN_DATE.search(template)
    day = own_date[2] if own_date else f"{PINNED:%d %b %Y}"
    pins: list[str] = []
    for name in THINKING:
        if len({*_renderings(pinned, special_tokens, name, (True, False))}) > 1:
            pins.append(_pin(name, enable_thinking))
    if num_dates or len({*_renderings(pinned, special_tokens, "date_string", (day, "x"))}) > 1:
        pins.append(_pin("date_string", day))
    pinned = "".join(pins) + pinned
    if enable_thinking:
        return pinned
    try:
        return _with_empty_thinking(pinned, special_tokens)
    except jinja2.TemplateError as error:
        raise UserError(
            "model.enable_thinking: false, but the chat template of model.model_name_or_path fails "
            f"without thinking ({' '.join(str(error).split())}); set enable_thinking=true"
        ) from None


def pins_of(template: str) -> dict[str, Any]:
    """What `pin_template` wrote into a template, e.g. {"enable_thinking": False}.

    "prompt_end" is the text that it put at the end of the generation prompt.
    """
    found: dict[str, Any] = {}
    at = 0
    while pin := PIN.match(template, at):
        found[pin[1]] = json.loads(pin[2])
        at = pin.end()
    end = PROMPT_END.search(template)
    return found if end is None else found | {"prompt_end": json.loads(end[1])}


def _pin(name: str, value: bool | str) -> str:
    return f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} %}}"


def _renderings(
    template: str, special_tokens: Mapping[str, Any], name: str, values: tuple[Any, ...]
) -> list[str]:
    """The probes rendered without the variable and with each of its values, or why they cannot."""
    found = []
    for variables in ({}, *({name: value} for value in values)):
        parts = []
        for turns in PROBES:
            for conversation, cue in ((turns, True), (with_reply(turns, REPLY), False)):
                try:
                    [text] = render(
                        template, special_tokens, [conversation], cue=cue, variables=variables
                    )
                except jinja2.TemplateError as error:
                    text = f"rejected: {error}"
                parts.append(text)
        found.append("\0".join(parts))
    return found


def _with_empty_thinking(template: str, special_tokens: Mapping[str, Any]) -> str:
    """`template` with the text before an answer in its generation prompt, if it has such a text."""
    [prompt] = render(template, special_tokens, [[QUESTION]], cue=True)
    [full] = render(template, special_tokens, [with_reply([QUESTION], REPLY)], cue=False)
    text = text_before_answer(prompt, full, REPLY)
    if not text.strip():
        return template
    written = json.dumps(text, ensure_ascii=False)
    longer = f"{template}{{%- if add_generation_prompt %}}{{{{- {written} }}}}{{%- endif %}}"
    [found] = render(longer, special_tokens, [[QUESTION]], cue=True)
    if found != prompt + text:
        raise UserError(
            f"model.model_name_or_path: its chat template writes {text!r} before a reply and ends "
            "otherwise than with its generation prompt; put that text into its generation prompt"
        )
    return longer
