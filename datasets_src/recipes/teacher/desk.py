"""Where a kind of recipe asks: the teacher and its look-ups, each behind an Asker.

desk = OpenDesk(askers, teacher=config, endpoint="https://…/v1", book=PromptBook(...))
desk.teach(prompt, {"wish": "Más corto", "description": "La nutria …"}).text
"""

from collections.abc import Mapping
from typing import Any

from datasets_src.recipes.contract import Answer, NoAnswer, Prompt
from datasets_src.recipes.teacher.asker import ServiceClient
from datasets_src.recipes.teacher.client import TeacherConfig, read_answer
from datasets_src.recipes.teacher.meter import Usage
from datasets_src.recipes.teacher.prompts import PromptBook, Rules

TEACHER_SERVICE, REWORD_KEY = "teacher", "reword"
REWORD_RULES = Rules({"text": "what is reworded", "num": "how many times"}, ("text", "num"))
REWORD = Prompt(
    template="Escribe {num} formas distintas de decir lo mismo que este texto, en su idioma, con"
    ' otras palabras y sin perder ningún dato. Responde en JSON: {{"wordings": ["…"]}}\n\n{text}'
)
NO_TEACHER = "there is no teacher"
# Where another attempt may do better; a refusal stays one.
AGAIN = ("empty answer", "not the JSON asked for", "rewordings repeat")


class OpenDesk:
    """A Desk (contract.py). `endpoint` is what the teacher's replies are kept under."""

    def __init__(
        self,
        askers: Mapping[str, ServiceClient],
        *,
        teacher: TeacherConfig | None,
        endpoint: str,
        book: PromptBook,
    ) -> None:
        self._askers, self._teacher, self._endpoint = askers, teacher, endpoint
        self._book = book

    @property
    def has_teacher(self) -> bool:
        return self._teacher is not None

    def usage(self) -> str:
        """What the teacher has used so far, over all starts of the build."""
        asker = self._askers.get(TEACHER_SERVICE)
        return str(asker.meter) if asker else ""

    def teacher_record(self) -> dict[str, Any] | None:
        """The teacher of the rows and what their answers used, whenever they were asked for."""
        if self._teacher is None:
            return None
        usage = list(self._askers[TEACHER_SERVICE].consulted.values())
        total = sum(usage, Usage())
        return {
            "model": self._teacher.model or self._endpoint,
            "num_answers": len(usage),
            "prompt_tokens": total.prompt_tokens,
            "completion_tokens": total.completion_tokens,
        }

    def teach(
        self,
        prompt: Prompt,
        fields: Mapping[str, Any],
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The teacher's answer; NoAnswer where it gives none, or where there is no teacher."""
        return self._ask_again(prompt, fields, schema)

    def reword(self, text: str, *, num: int) -> list[str]:
        """`num` other wordings of `text`, all different; NoAnswer where it gives fewer."""
        strings = {"type": "array", "items": {"type": "string"}, "minItems": num, "maxItems": num}
        schema = {
            "type": "object",
            "properties": {"wordings": strings},
            "required": ["wordings"],
            "additionalProperties": False,
        }
        fields = {"text": text, "num": num}
        answer = self._ask_again(REWORD, fields, schema, apart_from=text)
        return [wording.strip() for wording in answer.value["wordings"]]

    def look_up(self, service: str, request: Mapping[str, Any]) -> Any:
        """The reply of a look-up service of the kind."""
        return self._askers[service].ask(request)

    def _ask_again(
        self,
        prompt: Prompt,
        fields: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        *,
        apart_from: str | None = None,
    ) -> Answer:
        if self._teacher is None:
            raise NoAnswer(NO_TEACHER)
        for attempt in range(self._teacher.num_attempts):
            try:
                reply = self._askers[TEACHER_SERVICE].ask(
                    self._request(prompt, fields, schema, attempt=attempt)
                )
                answer = read_answer(reply, schema, refusals=self._teacher.refusals)
                if apart_from is not None:
                    _refuse_repeats(answer.value["wordings"], apart_from)
                return answer
            except NoAnswer as error:
                if error.reason not in AGAIN or attempt + 1 == self._teacher.num_attempts:
                    raise
        raise AssertionError("num_attempts is at least 1")

    def _request(
        self,
        prompt: Prompt,
        fields: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        *,
        attempt: int,
    ) -> dict[str, Any]:
        """The whole request; another attempt has another seed, so it is another request."""
        config = self._teacher
        assert config is not None
        body = {
            "model": config.model,
            "messages": self._book.messages(prompt, fields),
            "max_tokens": config.max_new_tokens,
            "seed": config.sampling_seed + attempt,
            **({} if config.temperature is None else {"temperature": config.temperature}),
            **config.extra_body,
        }
        if schema is not None and config.structured == "json_schema":
            named = {"name": "answer", "strict": True, "schema": dict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif schema is not None and config.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        return {"endpoint": self._endpoint, "body": body}


def _refuse_repeats(wordings: list[str], text: str) -> None:
    folded = [" ".join(wording.casefold().split()) for wording in (*wordings, text)]
    if len(set(folded)) < len(folded) or "" in folded:
        raise NoAnswer("rewordings repeat", " | ".join(wordings)[:100])
