"""Crossref's search for works, by habanero: https://api.crossref.org/works

service = crossref_service(mailto="ana@example.org")
service.call({"query": "On newts", "from_year": 2018, "until_year": 2020, "rows": 5})
[{"DOI": "10.5555/n.1", "title": ["On newts"], "issued": {"date-parts": [[2019]]}}]

`mailto` puts requests into the polite pool. Crossref lowered its limits in December 2025 and sends
the current ones in each response (x-rate-limit-limit, x-concurrency-limit); the defaults, three
requests per second and three concurrent ones, are conservative.
"""

from collections.abc import Mapping
from typing import Any

import habanero
import httpx2
from habanero.exceptions import RequestError

from datasets_src.recipes.contract import Service, ServiceFault
from datasets_src.retry_after import retry_after_s

NAME = "crossref"
URL = "https://api.crossref.org"
FIELDS = ["DOI", "title", "subtitle", "issued", "published-print", "published-online"]
REQUESTS_PER_MINUTE, MAX_PARALLEL = 180.0, 3
MAX_TRIES = 8
# What habanero raises for HTTP errors, broken connections and unexpected JSON.
FAULTS = (
    *(RequestError, httpx2.HTTPError, RuntimeError),
    *(ValueError, LookupError, TypeError, AttributeError),
)


def crossref_service(
    *,
    mailto: str,
    base_url: str = URL,
    timeout_s: float = 30.0,
    requests_per_minute: float = REQUESTS_PER_MINUTE,
    max_parallel: int = MAX_PARALLEL,
) -> Service:
    """The service `crossref`: items of /works for {"query", "from_year", "until_year", "rows"}."""
    # habanero passes `timeout` to httpx2 unchanged, so fractions of a second work.
    client = habanero.Crossref(
        base_url=base_url.rstrip("/"), mailto=mailto, ua_string="gallipato", timeout=timeout_s
    )

    def call(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return search(client, request)

    return Service(
        NAME,
        call,
        requests_per_minute=requests_per_minute,
        max_parallel=max_parallel,
        max_tries=MAX_TRIES,
    )


def search(client: habanero.Crossref, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One try. ServiceFault: any answer other than a list of works."""
    years = {"from_pub_date": request["from_year"], "until_pub_date": request["until_year"]}
    try:
        reply = client.works(
            query_bibliographic=request["query"],
            filter={name: str(year) for name, year in years.items() if year is not None} or None,
            limit=request["rows"],
            select=FIELDS,
        )
        items = reply["message"]["items"]
        return [{name: item[name] for name in FIELDS if name in item} for item in items]
    except FAULTS as error:
        raise _fault(error) from error


def _fault(error: BaseException) -> ServiceFault:
    """The fault with the response's status and Retry-After, if there was a response."""
    response = _response_of(error)
    if response is None or response.is_success:
        return ServiceFault(None, f"no list of works: {error!r:.200}")
    wait_s = max(0.0, retry_after_s(response.headers.get("retry-after", "")))
    message = " ".join(response.text.split())[:200] or response.reason_phrase
    return ServiceFault(response.status_code, message, retry_after_s=wait_s)


def _response_of(error: BaseException | None) -> httpx2.Response | None:
    while error is not None:
        if isinstance(error, httpx2.HTTPStatusError):
            return error.response
        error = error.__cause__ or error.__context__
    return None
