"""A metadata service like that of Azure's VMs, on a local port, that fails on request.

with AzureService("vmss_3") as azure:
    azure.faults += [404, 500, SLOW, TORN, RESET]     # one for each question to come
    azure.show(event("e-1", "Preempt", not_before_s=60))
"""

import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

SLOW_S = 2.0
SLOW, TORN, RESET = "slow", "torn", "reset"


class AzureService:
    """State: the events it shows, the faults to come, what it was asked."""

    def __init__(self, vm_name: str) -> None:
        self.vm_name = vm_name
        self.incarnation = 1
        self.events: list[Any] = []
        self.faults: list[int | str] = []
        self.asked: list[str] = []
        self.approved: list[dict[str, Any]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def show(self, *events: Any) -> None:
        """From now on, as a new document."""
        self.events = list(events)
        self.incarnation += 1

    def wait_for_questions(self, number: int) -> None:
        """Until it was asked `number` times more."""
        until = len(self.asked) + number
        deadline = time.monotonic() + 60
        while len(self.asked) < until:
            assert time.monotonic() < deadline, self.asked
            time.sleep(0.05)

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.server.server_close()


def event(event_id: str, kind: str, *, not_before_s: float | None, **other: Any) -> dict[str, Any]:
    """An entry of `Events` that takes vmss_3 in `not_before_s`; None: it is under way."""
    return {
        "EventId": event_id,
        "EventType": kind,
        "EventStatus": "Started" if not_before_s is None else "Scheduled",
        "ResourceType": "VirtualMachine",
        "Resources": ["vmss_2", "vmss_3"],
        "NotBefore": ""
        if not_before_s is None
        else formatdate(time.time() + not_before_s, usegmt=True),
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    } | other


def handler_of(azure: AzureService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            azure.asked.append(self.path)
            if self._fail():
                return
            if self.path == "/metadata/instance/compute?api-version=2021-02-01":
                self._answer(200, {"name": azure.vm_name, "location": "westeurope"})
            elif self.path == "/metadata/scheduledevents?api-version=2020-07-01":
                document = {"DocumentIncarnation": azure.incarnation, "Events": azure.events}
                self._answer(200, document)
            else:
                self._answer(400, {"error": f"unknown: {self.path}"})

        def do_POST(self) -> None:
            if not self._fail():
                length = int(self.headers["Content-Length"])
                azure.approved.append(json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

        def _fail(self) -> bool:
            if self.headers.get("Metadata") != "true":
                self._answer(400, {"error": "Required metadata header not specified"})
                return True
            fault = azure.faults.pop(0) if azure.faults else None
            if fault == SLOW:
                time.sleep(SLOW_S)
            elif fault == TORN:
                self._answer(200, None, body=b'{"DocumentIncarnation": 1, "Ev')
            elif fault == RESET:
                self.connection.close()
            elif isinstance(fault, int):
                self._answer(fault, {"error": "scripted"})
            return fault is not None and fault != SLOW

        def _answer(self, status: int, document: Any, *, body: bytes | None = None) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode() if body is None else body)

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are in `asked`."""

    return Handler
