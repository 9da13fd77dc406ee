"""An HTTP proxy that makes scripted calls fail.

proxy = FaultProxy("http://127.0.0.1:5000")
proxy.rules = [Rule("reset", every=3), Rule(503, every=5, headers={"Retry-After": "1"})]
proxy.rules = [Rule(403, after=10)]            # from the eleventh call on, for good
proxy.calls                                    # ["PUT /bucket/key", ...]
"""

import http.client
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

SCRIPTED = b"<?xml version='1.0'?><Error><Code>Scripted</Code><Message>rule</Message></Error>"
HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Rule:
    """Which calls break, and how: a status (nothing is forwarded), `reset` (neither), `lost` (it
    is carried out, its answer is not sent), `cut` (half the answer's body is sent), `slow`.

    Of the calls whose "METHOD path" holds `match`, counted since the rule was set: those after the
    first `after`, and of these each `every`-th.
    """

    kind: int | Literal["reset", "lost", "cut", "slow"]
    every: int = 1
    after: int = 0
    match: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


class FaultProxy:
    """Forwards to `target` until `close()`."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._lock = threading.Lock()
        self.clear()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def clear(self) -> None:
        """Delete the rules and the recorded calls."""
        self.rules: list[Rule] = []
        self.calls: list[str] = []
        self.broken = 0

    def count(self, call: str) -> Rule | None:
        """Record a call; returns the rule that applies to it."""
        with self._lock:
            self.calls.append(call)
            for rule in self.rules:
                seen = sum(rule.match in past for past in self.calls)
                number = seen - rule.after
                if rule.match in call and number > 0 and number % rule.every == 0:
                    self.broken += 1
                    return rule
        return None

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of the real server."""
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def log_message(self, *args: object) -> None:
            """Calls are in `FaultProxy.calls`."""

        def handle_expect_100(self) -> bool:
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()  # the client waits for it before it sends the body
            return True

        def run(self) -> None:
            body = self.read_body()
            rule = proxy.count(f"{self.command} {self.path}")
            kind = None if rule is None else rule.kind
            if rule is not None and kind == "slow":
                time.sleep(rule.delay_s)
            if kind == "reset":
                return self.reset()
            if rule is not None and isinstance(kind, int):
                scripted = {"Content-Type": "application/xml", **rule.headers}
                return self.answer(kind, list(scripted.items()), SCRIPTED)
            kept = {k: v for k, v in self.headers.items() if k.lower() not in HOP - {"host"}}
            kept["Content-Length"] = str(len(body))
            status, headers, reply = proxy.forward(self.command, self.path, kept, body)
            if kind == "lost" or (kind == "cut" and len(reply) < 2):
                return self.reset()
            return self.answer(status, headers, reply, cut=kind == "cut")

        def read_body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: bool = False
        ) -> None:
            self.send_response_only(status)
            length = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value  # of the body that a GET would have
                elif name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.wfile.flush()
                self.reset()

        def reset(self) -> None:
            """Close with RST, as a crashed peer does."""
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.run)
    return Handler
