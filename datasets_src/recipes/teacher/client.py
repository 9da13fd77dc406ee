"""Config and client of the teacher, over any OpenAI-compatible chat endpoint.

teacher:
  base_url: https://generativelanguage.googleapis.com/v1beta/openai
  model: gemini-2.5-flash
  api_key_env: GEMINI_API_KEY
  max_price: 5

A call is POST <base_url>/chat/completions. Only these fields of the answer are cached:
{"text": "…", "refusal": "", "finish_reason": "stop", "usage": [870, 240]}
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
import jsonschema
from pydantic import Field, model_validator

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.recipes.contract import Answer, NoAnswer, ServiceFault
from datasets_src.recipes.teacher.cost_meter import Usage
from datasets_src.retry_after import retry_after_s

CHARS_PER_TOKEN = 2.0  # a low estimate, so that reservations are upper bounds
REFUSALS = (
    *("lo siento, pero no puedo", "lo siento, no puedo", "no puedo ayudarte con"),
    *("ho sento, però no puc", "ho sento, no puc", "i'm sorry, but i can", "i'm sorry, i can"),
    *("i cannot assist with", "i can't assist with", "as an ai language model"),
)
_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n\s*```\s*", re.DOTALL)
LOCAL = ("127.0.0.1", "localhost", "::1")
# Error code that providers send with status 429 although waiting does not help.
QUOTA_EXHAUSTED = "insufficient_quota"


class TeacherConfig(Section):
    """`teacher:` of a recipe: an endpoint, or a GGUF file served by llama.cpp during the build."""

    base_url: str | None = Field(None, description="base URL of the endpoint, ending in /v1")
    gguf_file: str | None = Field(
        None, description="alternative: GGUF file to serve locally, or `pocket`"
    )
    context_tokens: int = Field(4096, ge=64, description="context length of gguf_file")
    model: str = Field("", description="model name at the endpoint")
    api_key_env: str | None = Field(None, description="environment variable with the API key")
    temperature: float | None = Field(
        0.7, ge=0, description="sampling temperature; null: the server's default"
    )
    max_new_tokens: int = Field(512, ge=1, description="max tokens of an answer")
    sampling_seed: int = Field(42, ge=0, description="random seed sent with each request")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="extra keys of the request body"
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema",
        description="response_format for JSON answers; json_object if the endpoint lacks schemas",
    )
    num_attempts: int = Field(
        2, ge=1, description="attempts if the answer is empty or invalid JSON"
    )
    refusals: tuple[str, ...] = Field(
        REFUSALS, description="prefixes that mark an answer as a refusal"
    )
    requests_per_minute: float | None = Field(None, gt=0, description="rate limit in requests")
    tokens_per_minute: float | None = Field(None, gt=0, description="rate limit in tokens")
    max_parallel: int = Field(8, ge=1, description="max concurrent requests")
    max_tries: int = Field(6, ge=1, description="tries of a request that fails")
    timeout_s: float = Field(120.0, gt=0, description="request timeout in seconds")
    input_price: float = Field(0.0, ge=0, description="price per million prompt tokens")
    output_price: float = Field(0.0, ge=0, description="price per million completion tokens")
    max_price: float | None = Field(
        None, gt=0, description="spending cap over all starts of the build"
    )
    max_tokens: int | None = Field(None, gt=0, description="token cap over all starts of the build")

    @model_validator(mode="after")
    def _check_source(self) -> "TeacherConfig":
        if (self.base_url is None) == (self.gguf_file is None):
            raise ValueError("base_url or gguf_file: set exactly one of them")
        if self.base_url is not None and not self.model:
            raise ValueError("model: missing; name the model at base_url")
        return self


# Keys that do not influence answers, only how they are obtained.
NOT_IN_ANSWERS = {
    *("base_url", "gguf_file", "api_key_env", "requests_per_minute", "tokens_per_minute"),
    *("max_parallel", "max_tries", "timeout_s", "input_price", "output_price"),
    *("max_price", "max_tokens"),
}


def read_key(config: TeacherConfig) -> str:
    """The API key from `api_key_env`; "" if the recipe names no variable."""
    if config.api_key_env is None:
        return ""
    if key := os.environ.get(config.api_key_env, "").strip():
        return key
    raise UserError(
        f"teacher.api_key_env: {config.api_key_env} is not set, so {config.base_url} would not"
        f" answer; export {config.api_key_env}=<your key>"
    )


class ChatClient:
    """Sends chat completions, one try per call; thread-safe."""

    def __init__(self, config: TeacherConfig, *, base_url: str, key: str) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._client = httpx2.Client(
            timeout=config.timeout_s,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=config.max_parallel),
            # Loopback traffic must bypass http_proxy.
            trust_env=urlsplit(base_url).hostname not in LOCAL,
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send {"endpoint", "body"} once and return {"text", "refusal", "finish_reason", "usage"}.

        Raises:
            ServiceFault: any answer but a chat completion.
            UserError: `base_url` is not a URL.
        """
        try:
            response = self._client.post(self._url, json=request["body"])
        except httpx2.InvalidURL as error:
            raise UserError(f"teacher.base_url: {self._url}: {error}; write https://…/v1") from None
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ServiceFault(None, f"{self._url}: {reason}") from error
        if response.status_code != 200:
            raise _fault_of(response)
        try:
            return _compact(response.json())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServiceFault(None, f"no chat completion: {response.text!r:.80}") from error


def _fault_of(response: httpx2.Response) -> ServiceFault:
    try:
        error = response.json()["error"]
        message, code = str(error.get("message", error)), str(error.get("code", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        message, code = response.text, ""
    message = " ".join(message.split())[:200]
    status = 402 if QUOTA_EXHAUSTED in (code, message) else response.status_code
    wait_s = max(0.0, retry_after_s(response.headers.get("retry-after", "")))
    return ServiceFault(status, message or response.reason_phrase, retry_after_s=wait_s)


def _compact(reply: Any) -> dict[str, Any]:
    choice = reply["choices"][0]
    message, usage = choice["message"], reply.get("usage") or {}
    text = message.get("content") or ""
    num_new = usage.get("completion_tokens", -(-len(text) // 4))
    return {
        "text": text if isinstance(text, str) else "".join(part["text"] for part in text),
        "refusal": message.get("refusal") or "",
        "finish_reason": choice.get("finish_reason") or "",
        "usage": [int(usage.get("prompt_tokens", 0)), int(num_new)],
    }


def max_usage(request: Mapping[str, Any]) -> Usage:
    """Upper bound of the tokens of a request."""
    num_chars = sum(len(m["content"]) for m in request["body"]["messages"])
    return Usage(int(num_chars / CHARS_PER_TOKEN), request["body"]["max_tokens"])


def reply_usage(reply: Mapping[str, Any]) -> Usage:
    """The tokens that a reply reports as used."""
    return Usage(*reply["usage"])


def read_answer(
    reply: Mapping[str, Any], schema: Mapping[str, Any] | None, *, refusals: tuple[str, ...]
) -> Answer:
    """Parse and validate a reply.

    Raises:
        NoAnswer: refused, empty, cut at `max_new_tokens`, or JSON that does not match `schema`.
    """
    text = reply["text"].strip()
    opening = text[:100].casefold().replace("’", "'")
    if reply["refusal"] or reply["finish_reason"] == "content_filter":
        raise NoAnswer("refused by the teacher", reply["refusal"] or "content filter")
    if opening.startswith(tuple(refusals)):
        raise NoAnswer("refused by the teacher", text[:100])
    if not text:
        raise NoAnswer("empty answer")
    if reply["finish_reason"] == "length":
        raise NoAnswer("answer cut at max_new_tokens", text[:100])
    if schema is None:
        return Answer(text)
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
        jsonschema.validate(value, schema)
    except (ValueError, jsonschema.ValidationError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise NoAnswer("not the JSON asked for", f"{reason[:100]}: {text[:100]}") from error
    return Answer(text, value)
