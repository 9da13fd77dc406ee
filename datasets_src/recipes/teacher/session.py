"""The TeacherSession of a build: the teacher and the look-ups, each behind a ServiceClient.

book = PromptBook({"options.rewrite": rules}, {"options.rewrite": prompt})
session = BuildSession(clients, teacher=config, endpoint="https://…/v1", book=book)
session.teach(prompt, {"wish": "Más corto", "description": "La nutria …"}).text
"""

from collections.abc import Mapping
from typing import Any

from datasets_src.recipes.contract import Answer, NoAnswer, Prompt
from datasets_src.recipes.teacher.client import TeacherConfig, read_answer
from datasets_src.recipes.teacher.cost_meter import Usage
from datasets_src.recipes.teacher.prompts import PromptBook, Rules
from datasets_src.recipes.teacher.service_client import ServiceClient

TEACHER_SERVICE, REWORD_KEY = "teacher", "reword"
REWORD_RULES = Rules({"text": "text to reword", "num": "number of wordings"}, ("text", "num"))
REWORD = Prompt(
    template="Escribe {num} formas distintas de decir lo mismo que este texto, en su idioma, con"
    ' otras palabras y sin perder ningún dato. Responde en JSON: {{"wordings": ["…"]}}\n\n{text}'
)
NO_TEACHER = "there is no teacher"
# Worth another attempt with another seed; a refusal is final.
RETRIED_REASONS = ("empty answer", "not the JSON asked for", "rewordings repeat")


class BuildSession:
    """A TeacherSession (contract.py). `endpoint` is part of the cache key of teacher replies."""

    def __init__(
        self,
        clients: Mapping[str, ServiceClient],
        *,
        teacher: TeacherConfig | None,
        endpoint: str,
        book: PromptBook,
    ) -> None:
        self._clients, self._teacher, self._endpoint = clients, teacher, endpoint
        self._book = book

    @property
    def has_teacher(self) -> bool:
        return self._teacher is not None

    def usage(self) -> str:
        """The teacher's usage so far, over all starts of the build; "" without a teacher."""
        client = self._clients.get(TEACHER_SERVICE)
        return str(client.meter) if client else ""

    def teacher_record(self) -> dict[str, Any] | None:
        """The teacher and the usage of this dataset's answers, cached ones included."""
        if self._teacher is None:
            return None
        usages = list(self._clients[TEACHER_SERVICE].usage_by_request.values())
        total = sum(usages, Usage())
        return {
            "model": self._teacher.model or self._endpoint,
            "num_answers": len(usages),
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
        """The teacher's answer; NoAnswer if it gives none or the recipe has no teacher."""
        return self._ask(prompt, fields, schema)

    def reword(self, text: str, *, num: int) -> list[str]:
        """`num` distinct paraphrases of `text`; NoAnswer if the teacher gives fewer."""
        strings = {"type": "array", "items": {"type": "string"}, "minItems": num, "maxItems": num}
        schema = {
            "type": "object",
            "properties": {"wordings": strings},
            "required": ["wordings"],
            "additionalProperties": False,
        }
        fields = {"text": text, "num": num}
        answer = self._ask(REWORD, fields, schema, differs_from=text)
        return [wording.strip() for wording in answer.value["wordings"]]

    def look_up(self, service: str, request: Mapping[str, Any]) -> Any:
        """The reply of a look-up service of the kind."""
        return self._clients[service].fetch(request)

    def _ask(
        self,
        prompt: Prompt,
        fields: Mapping[str, Any],
        schema: Mapping[str, Any] | None,
        *,
        differs_from: str | None = None,
    ) -> Answer:
        if self._teacher is None:
            raise NoAnswer(NO_TEACHER)
        for attempt in range(self._teacher.num_attempts):
            try:
                reply = self._clients[TEACHER_SERVICE].fetch(
                    self._request(prompt, fields, schema, attempt=attempt)
                )
                answer = read_answer(reply, schema, refusals=self._teacher.refusals)
                if differs_from is not None:
                    _refuse_repeats(answer.value["wordings"], differs_from)
                return answer
            except NoAnswer as error:
                if error.reason not in RETRIED_REASONS or attempt + 1 == self._teacher.num_attempts:
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
        """The request, which is also its cache key; each attempt has its own seed."""
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
