"""2,000 Crossref look-ups at a server that takes 300 ms and fails 5 % of requests.

    python -m tests.benchmarks.bench_lookups     # last line: one JSON object

The server is its own process; half of the faults are 429 with a Retry-After of 1 s, during which no
request is sent, half are 500. Each work has its own title, so that a reply that is lost or belongs
to another request is detected.

habanero opens a client per request, even for plain HTTP, which reads the system's certificates:
0.3 ms of CPU from a folder, 25 ms from one file. Here it is the folder, the default without
SSL_CERT_FILE.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets_src.recipes.services.crossref import crossref_service
from datasets_src.recipes.teacher.cache import ReplyCache
from datasets_src.recipes.teacher.service_client import ServiceClient

ROOT = Path(__file__).resolve().parents[2]
NUM_LOOKUPS = 2000
LATENCY_S = 0.3
SHARE_OF_FAULTS = 0.05
MAX_PARALLEL = 64


def works(num: int) -> list[dict[str, Any]]:
    """Works whose titles cannot be confused with each other."""
    return [
        {
            "DOI": f"10.5555/w.{number}",
            "title": [f"A study of the newt number {number}"],
            "issued": {"date-parts": [[2019]]},
        }
        for number in range(num)
    ]


def look_up_all(url: str, listed: list[dict[str, Any]], replies: Path) -> tuple[float, int]:
    """Seconds and number of requests for all works.

    Raises:
        AssertionError: a reply belongs to another work.
    """
    service = crossref_service(
        mailto="bench@example.org", base_url=url, requests_per_minute=1e9, max_parallel=MAX_PARALLEL
    )
    calls: list[Mapping[str, Any]] = []

    def counted(request: Mapping[str, Any]) -> Any:
        calls.append(request)
        return service.call(request)

    with ReplyCache(replies) as cache, ThreadPoolExecutor(MAX_PARALLEL) as pool:
        client = ServiceClient(replace(service, call=counted), cache, stop=threading.Event())

        def look_up(work: dict[str, Any]) -> Any:
            request = {"query": work["title"][0], "from_year": 2018, "until_year": 2020, "rows": 5}
            return client.fetch(request)

        started = time.perf_counter()
        found = list(pool.map(look_up, listed))
        seconds = time.perf_counter() - started
        assert [items[0]["DOI"] for items in found] == [work["DOI"] for work in listed]
        assert len(cache) == len(listed)
        return seconds, len(calls)


def measure(num: int, latency_s: float) -> dict[str, float]:
    """Look up `num` works at a server started for them."""
    listed = works(num)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "works.jsonl"
        path.write_text("".join(json.dumps(work) + "\n" for work in listed), "utf-8")
        options = ["--latency-s", str(latency_s), "--share-of-faults", str(SHARE_OF_FAULTS)]
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.lookup_server", str(path), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            seconds, num_requests = look_up_all(url, listed, Path(folder) / "replies.jsonl")
        finally:
            server.kill()
            server.wait()
    return {"lookups": num, "seconds": round(seconds, 1), "faults": num_requests - num}


def main() -> None:
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = "/etc/ssl/certs"
    figures = measure(NUM_LOOKUPS, LATENCY_S)
    print(
        f"{figures['lookups']:,} look-ups in {figures['seconds']} s, {figures['faults']} faults,"
        " nothing lost or misaligned"
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
