"""Azure's metadata service, as far as events need it: `Metadata("http://169.254.169.254")`.

    metadata.vm_name()             # "vmss_3"
    metadata.scheduled_events()    # {"DocumentIncarnation": 2, "Events": [...]}
    metadata.approve(event_id)

Plain `http.client`, which knows no proxies: the service refuses forwarded requests. Each event is
taken by its id; `DocumentIncarnation` counts the document's changes and decides nothing.
"""

import http.client
import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
COMPUTE = "/metadata/instance/compute?api-version=2021-02-01"
CONNECT_LIMIT_S = 5
# The first question turns the service on for this VM, which takes up to two minutes.
FIRST_ANSWER_LIMIT_S = 150
ANSWER_LIMIT_S = 10


class MetadataError(Exception):
    """One failed question; `passes` where another try may be answered."""

    def __init__(self, message: str, *, passes: bool = True, unreachable: bool = False) -> None:
        super().__init__(message)
        self.passes = passes
        self.unreachable = unreachable


@dataclass(frozen=True)
class Event:
    """One entry of `Events`; `not_before_ms` is None where it is under way or gives no time."""

    event_id: str
    kind: str
    status: str
    resources: tuple[str, ...]
    not_before_ms: int | None
    duration_s: float

    def names(self, vm_name: str) -> bool:
        """Names of VMs are compared without regard to case, as Azure does."""
        return vm_name.casefold() in {name.casefold() for name in self.resources}


@dataclass
class Metadata:
    """The service at `endpoint`, and whether it has announced an event before."""

    endpoint: str
    answered: bool = False

    def vm_name(self) -> str:
        name = self._ask("GET", COMPUTE).get("name")
        if not isinstance(name, str) or not name:
            raise MetadataError(f"{self.endpoint}{COMPUTE} gives no name", passes=False)
        return name

    def scheduled_events(self) -> dict[str, Any]:
        document = self._ask("GET", EVENTS)
        self.answered = True
        return document

    def approve(self, event_id: str) -> None:
        """Let Azure start the event now."""
        self._ask("POST", EVENTS, body=json.dumps({"StartRequests": [{"EventId": event_id}]}))

    def _ask(self, method: str, path: str, *, body: str | None = None) -> dict[str, Any]:
        url = urlsplit(self.endpoint)
        limit_s = ANSWER_LIMIT_S if self.answered else FIRST_ANSWER_LIMIT_S
        connection = http.client.HTTPConnection(
            url.hostname or "", url.port or 80, timeout=CONNECT_LIMIT_S
        )
        try:
            try:
                connection.connect()
            except OSError as error:
                raise MetadataError(
                    f"{self.endpoint} is not reachable: {error}", unreachable=True
                ) from error
            connection.sock.settimeout(limit_s)
            connection.request(method, path, body=body, headers={"Metadata": "true"})
            response = connection.getresponse()
            return self._read(response.status, response.read(), path, posted=body is not None)
        except (OSError, http.client.HTTPException) as error:
            raise MetadataError(f"{self.endpoint} breaks off: {error or type(error)}") from error
        finally:
            connection.close()

    def _read(self, status: int, content: bytes, path: str, *, posted: bool) -> dict[str, Any]:
        if status != 200:
            # 404 and 410: not there yet, or just moving; 429: asked too often.
            passes = status in (404, 408, 410, 429) or status >= 500
            raise MetadataError(f"{self.endpoint}{path} answers {status}", passes=passes)
        if posted:
            return {}
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MetadataError(f"{self.endpoint}{path} answers no JSON: {error}") from error
        if not isinstance(document, dict):
            raise MetadataError(
                f"{self.endpoint}{path} answers {type(document).__name__}, no object"
            )
        return document


def read_events(document: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The events that can be read, and a line for each that cannot: one must not hide another."""
    entries = document.get("Events")
    if not isinstance(entries, list):
        return [], ["the document of events has no list `Events`"]
    events, faults = [], []
    for entry in entries:
        try:
            events.append(_read_event(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"an event that cannot be read ({error!r}): {json.dumps(entry)}")
    return events, faults


def _read_event(entry: dict[str, Any]) -> Event:
    return Event(
        event_id=str(entry["EventId"]),
        kind=str(entry["EventType"]),
        status=str(entry.get("EventStatus", "")),
        resources=tuple(str(name) for name in entry["Resources"]),
        not_before_ms=_unix_ms(entry.get("NotBefore")),
        duration_s=float(entry.get("DurationInSeconds", -1)),
    )


def _unix_ms(http_date: Any) -> int | None:
    """The time of an event; None, which means at once, where there is none to read."""
    try:
        return int(parsedate_to_datetime(http_date).timestamp() * 1000)
    except (TypeError, ValueError):
        return None
