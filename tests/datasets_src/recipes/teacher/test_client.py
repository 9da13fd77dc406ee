"""The teacher over real HTTP: faults are retried, refusals reported, no request is sent twice."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.build import teacher_service_client
from datasets_src.recipes.contract import NoAnswer, Prompt, ServiceFault
from datasets_src.recipes.teacher import service_client
from datasets_src.recipes.teacher.cache import ReplyCache
from datasets_src.recipes.teacher.client import ChatClient, TeacherConfig, read_key
from datasets_src.recipes.teacher.prompts import PromptBook, Rules
from datasets_src.recipes.teacher.service_client import ServiceClient, ServiceDown
from datasets_src.recipes.teacher.session import REWORD, REWORD_KEY, REWORD_RULES, BuildSession
from tests.servers.teacher_server import TeacherServer, last_user

PROMPT = Prompt(template="Resume: {text}", system="Breve.")
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
}


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    made = TeacherServer(lambda body: f"eco {last_user(body)}")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_client, "FIRST_WAIT_S", 0.02)


class TeacherSetup:
    """A session whose teacher is a server of the test, with the client behind it."""

    def __init__(self, server: TeacherServer, path: Path, **config: Any) -> None:
        self.config = TeacherConfig(base_url=server.base_url, model="m", **config)
        self.cache = ReplyCache(path)
        chat = ChatClient(self.config, base_url=server.base_url, key="clave")
        self.client: ServiceClient = teacher_service_client(
            chat, self.config, self.cache, threading.Event()
        )
        book = PromptBook(
            {"p": Rules({"text": "text to sum up"}, ("text",)), REWORD_KEY: REWORD_RULES},
            {"p": PROMPT, REWORD_KEY: REWORD},
        )
        self.session = BuildSession(
            {"teacher": self.client}, teacher=self.config, endpoint="e", book=book
        )


@pytest.fixture
def teacher(server: TeacherServer, tmp_path: Path) -> TeacherSetup:
    return TeacherSetup(server, tmp_path / "r.jsonl", max_tries=4)


def test_a_request_is_sent_once_and_cached(teacher: TeacherSetup, server: TeacherServer) -> None:
    assert (
        teacher.session.teach(PROMPT, {"text": "el gallipato"}).text == "eco Resume: el gallipato"
    )
    asked = server.log[0]
    assert asked.headers["authorization"] == "Bearer clave"
    assert [m["role"] for m in asked.body["messages"]] == ["system", "user"]
    assert (asked.body["model"], asked.body["max_tokens"], asked.body["seed"]) == ("m", 512, 42)
    assert (
        teacher.session.teach(PROMPT, {"text": "el gallipato"}).text == "eco Resume: el gallipato"
    )
    assert len(server.log) == 1
    assert teacher.client.meter is not None
    assert teacher.client.meter.num_answers == 1


@pytest.mark.parametrize(
    "script",
    [
        {"status": 500},
        {"status": 503},
        {"status": 429},
        {"status": 408},
        {"how": "cut"},
        {"how": "html"},
    ],
    ids=str,
)
def test_transient_faults_are_retried(
    teacher: TeacherSetup, server: TeacherServer, script: dict[str, Any]
) -> None:
    server.fail(**script, times=2)
    assert teacher.session.teach(PROMPT, {"text": "a"}).text == "eco Resume: a"
    assert len(server.log) == 3
    assert server.answered().total() == 1


def test_a_server_that_hangs_is_a_transient_fault(server: TeacherServer) -> None:
    released = threading.Event()
    server.reply = lambda body: str(released.wait(60))
    config = TeacherConfig(base_url=server.base_url, model="m", timeout_s=0.2)
    chat = ChatClient(config, base_url=server.base_url, key="")
    body = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8}
    with pytest.raises(ServiceFault, match="timed out") as caught:
        chat.call({"body": body})
    released.set()
    assert caught.value.status is None  # retried, as the cut connection above


def test_retry_after_is_honoured_by_all_threads(
    teacher: TeacherSetup, server: TeacherServer
) -> None:
    server.fail(status=429, headers={"Retry-After": "0.6"})
    threads = [
        threading.Thread(target=teacher.session.teach, args=(PROMPT, {"text": f"t{i}"}))
        for i in range(4)
    ]
    threads[0].start()
    while not teacher.client.limiter.paused_until:
        assert threads[0].is_alive()
        time.sleep(0.005)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    first_end = server.log[0].ended
    assert first_end is not None
    assert len(server.log) == 5
    assert all(asked.started - first_end > 0.55 for asked in server.log[1:])


def test_a_teacher_that_stays_down_stops_the_build(
    teacher: TeacherSetup, server: TeacherServer
) -> None:
    server.fail(status=503, times=99, error={"message": "overloaded"})
    with pytest.raises(ServiceDown, match="no answer in 4 tries, last 503: overloaded"):
        teacher.session.teach(PROMPT, {"text": "a"})
    assert len(server.log) == 4


def test_a_long_retry_after_stops_the_build(teacher: TeacherSetup, server: TeacherServer) -> None:
    server.fail(status=429, headers={"Retry-After": "86400"})
    with pytest.raises(ServiceDown, match="asks to wait 86400 s"):
        teacher.session.teach(PROMPT, {"text": "a"})
    assert len(server.log) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, {"message": "bad key"}),
        (404, {"message": "no such model"}),
        (429, {"message": "you exceeded your quota", "code": "insufficient_quota"}),
    ],
)
def test_permanent_faults_stop_at_once(
    teacher: TeacherSetup, server: TeacherServer, status: int, error: dict[str, str]
) -> None:
    server.fail(status=status, error=error)
    with pytest.raises(UserError, match=error["message"]):
        teacher.session.teach(PROMPT, {"text": "a"})
    assert len(server.log) == 1


def test_a_rejected_request_is_the_rows_fault(teacher: TeacherSetup, server: TeacherServer) -> None:
    server.fail(status=400, error={"message": "context too long"})
    with pytest.raises(NoAnswer, match=r"refused by teacher \(400\): context too long"):
        teacher.session.teach(PROMPT, {"text": "a"})


def test_refusals_and_empty_answers(teacher: TeacherSetup, server: TeacherServer) -> None:
    server.fail(how="refused")
    with pytest.raises(NoAnswer, match="refused by the teacher: not this"):
        teacher.session.teach(PROMPT, {"text": "a"})
    assert len(server.log) == 1, "a refusal is not retried"
    server.reply = lambda body: "Lo siento, no puedo hacer eso."
    with pytest.raises(NoAnswer, match="refused by the teacher"):
        teacher.session.teach(PROMPT, {"text": "b"})
    server.fail(how="empty", times=2)
    with pytest.raises(NoAnswer, match="empty answer"):
        teacher.session.teach(PROMPT, {"text": "c"})
    assert [asked.body["seed"] for asked in server.log[2:]] == [42, 43]


def test_json_is_requested_validated_and_retried(
    teacher: TeacherSetup, server: TeacherServer
) -> None:
    replies = iter(["no es JSON", '```json\n{"summary": "corto"}\n```', '{"resumen": 1}', "[]"])
    server.reply = lambda body: next(replies)
    answer = teacher.session.teach(PROMPT, {"text": "a"}, schema=SCHEMA)
    assert answer.value == {"summary": "corto"}
    sent = server.log[0].body["response_format"]
    assert sent["json_schema"]["schema"] == SCHEMA
    with pytest.raises(NoAnswer, match="not the JSON asked for"):
        teacher.session.teach(PROMPT, {"text": "b"}, schema=SCHEMA)
    assert len(server.log) == 4


def test_reword_returns_distinct_wordings(teacher: TeacherSetup, server: TeacherServer) -> None:
    replies = iter(
        ['{"wordings": ["Uno", "uno "]}', '{"wordings": ["Uno", "Dos"]}', '{"wordings": ["Uno"]}']
    )
    server.reply = lambda body: next(replies)
    assert teacher.session.reword("¿Dónde vive?", num=2) == ["Uno", "Dos"]
    assert "¿Dónde vive?" in last_user(server.log[0].body)
    server.reply = lambda body: '{"wordings": ["Uno"]}'
    with pytest.raises(NoAnswer, match="not the JSON asked for"):
        teacher.session.reword("¿Qué come?", num=2)


def test_concurrent_equal_requests_are_sent_once(
    teacher: TeacherSetup, server: TeacherServer
) -> None:
    server.delay_s = 0.1
    texts: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: texts.append(teacher.session.teach(PROMPT, {"text": "x"}).text)
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["eco Resume: x"] * 6
    assert len(server.log) == 1


def test_a_missing_key_is_reported_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TeacherConfig(base_url="https://x/v1", model="m", api_key_env="OUR_KEY")
    monkeypatch.delenv("OUR_KEY", raising=False)
    with pytest.raises(UserError, match="OUR_KEY is not set"):
        read_key(config)
    monkeypatch.setenv("OUR_KEY", " sk-1\n")
    assert read_key(config) == "sk-1"
