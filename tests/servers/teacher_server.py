"""A test teacher over real HTTP: OpenAI's chat completions, with scripted faults.

    server = TeacherServer(lambda body: "El texto nuevo.")
    server.fail(status=429, times=2, headers={"Retry-After": "1"})
    server.fail(how="cut")          or "hang", "html", "empty", "refused"
    server.log                      one entry a request: its body's hash, when, how it was answered

Usage counts a token for each four characters.
"""

import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request. `status` is 0 if the connection was cut or nothing is sent yet."""

    key: str
    body: dict[str, Any]
    headers: dict[str, str]
    started: float
    status: int = 0
    ended: float | None = None


@dataclass
class Script:
    """The response to the next `times` requests."""

    status: int = 200
    how: str = ""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=lambda: {"message": "scripted fault"})


class TeacherServer:
    """Serves until `close()`; `reply` makes the text from the body of a request."""

    def __init__(self, reply: Callable[[dict[str, Any]], str], *, delay_s: float = 0.0) -> None:
        self.reply, self.delay_s = reply, delay_s
        self.log: list[Asked] = []
        self.scripts: list[Script] = []
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def fail(self, **script: Any) -> None:
        """Answer the next requests as a Script."""
        self.scripts.append(Script(**script))

    def answered(self) -> Counter[str]:
        """How often each request was answered with 200."""
        return Counter(asked.key for asked in self.log if asked.status == 200)

    def take_script(self) -> Script:
        with self.lock:
            for script in self.scripts:
                if script.times > 0:
                    script.times -= 1
                    return script
        return Script()


def last_user(body: dict[str, Any]) -> str:
    """The user message of a request."""
    return str(body["messages"][-1]["content"])


def _handler(server: TeacherServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *args: object) -> None:
            """Requests are in `TeacherServer.log`."""

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            asked = Asked(
                hashlib.sha256(raw).hexdigest(),
                json.loads(raw),
                {name.lower(): value for name, value in self.headers.items()},
                time.monotonic(),
            )
            with server.lock:
                server.log.append(asked)
            script = server.take_script()
            time.sleep(server.delay_s)
            if script.how == "hang":
                time.sleep(2.0)
            if script.how in ("cut", "hang"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send(asked, script)

        def send(self, asked: Asked, script: Script) -> None:
            if script.status != 200:
                data = json.dumps({"error": script.error}).encode()
            elif script.how == "html":
                data = b"<html>proxy login</html>"
            else:
                data = json.dumps(completion(asked.body, script)).encode()
            self.send_response(script.status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            # Counted before it is sent, so that a client that has read it finds it counted.
            asked.status = -1 if script.how == "html" else script.status
            asked.ended = time.monotonic()
            self.wfile.write(data)

    def completion(body: dict[str, Any], script: Script) -> dict[str, Any]:
        text = "" if script.how == "empty" else server.reply(body)
        message = {"role": "assistant", "content": text}
        if script.how == "refused":
            message = {"role": "assistant", "content": "", "refusal": "not this"}
        num_chars = sum(len(m["content"]) for m in body["messages"])
        return {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": num_chars // 4, "completion_tokens": len(text) // 4},
        }

    return Handler
