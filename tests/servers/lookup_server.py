"""An HTTP server for look-ups with scripted faults; its responses are in lookup_answers.py.

with LookUpServer(crossref(WORKS)) as server:
    server.fail("/works", status=429, headers={"Retry-After": "0.2"}, times=2)
    ...  base_url=server.url ...
    server.log                      ["GET /works?query.bibliographic=…", …]

As a program it is the service of the benchmark, which must not share a process with its client:

    python -m tests.servers.lookup_server WORKS.jsonl --latency-s 0.3 --share-of-faults 0.05

A client with it as HTTPS_PROXY finds any host in it: after CONNECT it speaks TLS by a
certificate of its own, `server.certificate`.
"""

import argparse
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

CUT, STALL = "cut", "stall"  # faults without a status
STALL_S = 3.0


@dataclass(frozen=True)
class Request:
    """`query` holds the parameters of the URL."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """`body` is JSON unless it is bytes; of a `broken` one only a part is sent."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    broken: bool = False


@dataclass
class Fault:
    """The fault that the next `times` requests matching `pattern` get."""

    pattern: str
    reply: Reply | str
    times: int


Answer = Callable[[Request], Reply]


class LookUpServer:
    """Serves on its own port, each request in its own thread."""

    def __init__(
        self, answer: Answer, *, port: int = 0, latency_s: float = 0.0, tls: Path | None = None
    ) -> None:
        """`tls` is a folder for a certificate of any host of wikipedia.org."""
        self.answer, self.latency_s = answer, latency_s
        self.log: list[str] = []
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.certificate = None if tls is None else _write_certificate(tls)
        self._http = _Server(("127.0.0.1", port), _handler(self))
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "LookUpServer":
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def serve(self) -> None:
        """Answer until killed."""
        self._http.serve_forever()

    def fail(
        self,
        pattern: str,
        *,
        status: int | str = 500,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        kind: str = "application/json",
        times: int = 1,
    ) -> None:
        """Script a fault: a status with a body, CUT or STALL."""
        given = {"status": "error", "message": "scripted"} if body is None else body
        reply = status if isinstance(status, str) else Reply(given, status, headers or {}, kind)
        self.faults.append(Fault(pattern, reply, times))

    def take(self, request: Request, line: str) -> Reply | str:
        """The response, or the first fault that is scripted for the request."""
        with self.lock:
            self.log.append(line)
            self.requests.append(request)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, line):
                    fault.times -= 1
                    return fault.reply
        return self.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # all clients of the benchmark connect at once


def _handler(server: LookUpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def log_message(self, *args: object) -> None:
            """Requests are in `LookUpServer.log`."""

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(url.query))
            request = Request(self.command, url.path, query, dict(self.headers.items()), body)
            if server.latency_s:
                time.sleep(server.latency_s)
            reply = server.take(request, f"{self.command} {self.path}")
            if reply == STALL:
                time.sleep(STALL_S)
            if isinstance(reply, str):
                self.cut()
            else:
                self.send(reply)

        do_POST = do_GET

        def do_CONNECT(self) -> None:
            """Act as the requested host, with TLS."""
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            assert server.certificate is not None, "a server without tls= is no proxy"
            context.load_cert_chain(server.certificate)
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb")
            self.close_connection = False

        def send(self, reply: Reply) -> None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def cut(self) -> None:
            """Half an answer, then nothing."""
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "mess')
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def _write_certificate(folder: Path) -> Path:
    """A key and a self-signed certificate for every host of wikipedia.org, as one PEM file."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local test")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = x509.SubjectAlternativeName([x509.DNSName("*.wikipedia.org")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(hosts, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "host.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer as Crossref does, with faults.")
    parser.add_argument("works", type=Path)
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--share-of-faults", type=float, default=0.0)
    options = parser.parse_args()
    works = [json.loads(line) for line in options.works.read_text("utf-8").splitlines()]
    of_title = {work["title"][0]: work for work in works}
    rng = Random(0)

    def answer(request: Request) -> Reply:
        """/works by exact title, so that the benchmark measures the client."""
        with server.lock:
            draw = rng.random()
        if draw < options.share_of_faults:
            is_limit = draw < options.share_of_faults / 2
            headers = {"Retry-After": "1"} if is_limit else {}
            error = {"status": "error", "message": "scripted"}
            return Reply(error, 429 if is_limit else 500, headers)
        items = [of_title[request.query["query.bibliographic"]]]
        return Reply({"status": "ok", "message": {"total-results": 1, "items": items}})

    server = LookUpServer(answer, latency_s=options.latency_s)
    print(server.url, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
