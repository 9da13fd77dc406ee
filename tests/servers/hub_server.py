"""A test Hub over real HTTP, with the endpoints that huggingface_hub uses to create, push and read.

    python -m tests.servers.hub_server --port 8099 --root hub/     # token hf_write, user tester
    HF_ENDPOINT=http://127.0.0.1:8099 HF_TOKEN=hf_write python -m jobs.publish runs/demo

In tests: `hub = HubServer(tmp_path)`; `hub.fail(r"POST .*/commit/main", status=500)`; `hub.log`.
"""

import argparse
import json
import re
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.servers.hub_routes import Hub, Reply, Request, route
from tests.servers.hub_store import Account, Store


@dataclass
class Fault:
    """The response to the next `times` matching requests; status None cuts the connection.

    With `after` the request is carried out first: only its response is lost or replaced.
    """

    pattern: str
    status: int | None
    after: bool
    times: int
    headers: dict[str, str]


class HubServer:
    """Serves a `Store` until `close()`. `log` holds "METHOD path" of every request."""

    def __init__(self, root: Path, *, port: int = 0, page_size: int = 1000) -> None:
        self.tokens = {"hf_write": Account("tester", orgs=("lab",))}
        self.log: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.store = Store(root)
        self.hub = Hub(self.store, self.endpoint, page_size)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def fail(
        self,
        pattern: str,
        *,
        status: int | None = 500,
        after: bool = False,
        times: int = 1,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Script a fault for the next requests whose "METHOD path" matches `pattern`."""
        self.faults.append(Fault(pattern, status, after, times, headers or {}))

    def count(self, pattern: str) -> int:
        """Number of requests so far whose "METHOD path" matches `pattern`."""
        return sum(re.search(pattern, line) is not None for line in self.log)

    def take_fault(self, line: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, line):
                fault.times -= 1
                return fault
        return None

    def answer(self, request: Request) -> Reply | None:
        """The reply of a route or of a scripted fault; None means: cut the connection."""
        line = f"{request.method} {request.path}"
        self.log.append(line)
        fault = self.take_fault(line)
        if fault is None or fault.after:
            reply = route(self.hub, request)
        if fault is None:
            return reply
        if fault.status is None:
            return None
        return Reply({"error": "scripted fault"}, fault.status, fault.headers)


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: 40 ms less each (delayed acknowledgement)

        def log_message(self, *args: object) -> None:
            """Requests are in `HubServer.log`."""

        def run(self) -> None:
            url = urlsplit(self.path)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            request = Request(
                self.command,
                url.path,
                parse_qs(url.query),
                self.read_body(),
                server.tokens.get(token),
            )
            with server.lock:
                reply = server.answer(request)
            if reply is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.send(reply)

        def read_body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def send(self, reply: Reply) -> None:
            raw = isinstance(reply.body, bytes)
            data = reply.body if raw else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "application/octet-stream" if raw else "application/json"
            for name, value in {"Content-Type": kind, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = run

    return Handler


def main() -> None:
    """Serve until ctrl-C."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--root", type=Path, required=True)
    args = parser.parse_args()
    hub = HubServer(args.root, port=args.port)
    print(f"HF_ENDPOINT={hub.endpoint} HF_TOKEN=hf_write  (user tester)", flush=True)
    try:
        threading.Event().wait()
    finally:
        hub.close()


if __name__ == "__main__":
    main()
