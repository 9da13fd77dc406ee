"""GROBID, which converts PDFs to TEI: POST <url>/api/processFulltextDocument

service = grobid_service("http://127.0.0.1:8070", {"9f2c…": Path("a.pdf")})
service.call({"sha256": "9f2c…"})        {"tei": "<TEI xmlns=…>"}

The request, and so the cache key, holds the hash of a PDF, not its path: a moved file is not
processed again. GROBID answers 503 while all its engines are busy, and 204 if it finds no text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from datasets_src.recipes.contract import Service, ServiceFault
from datasets_src.retry_after import retry_after_s

NAME = "grobid"
PATH = "/api/processFulltextDocument"
# No consolidation, so GROBID contacts no other service; titles are read from raw citations.
FORM = {"includeRawCitations": "1", "consolidateHeader": "0", "consolidateCitations": "0"}
BUSY_WAIT_S = 5.0  # wait before a retry that its documentation recommends
LOCAL = ("127.0.0.1", "localhost", "::1")


def grobid_service(
    url: str, pdfs: Mapping[str, Path], *, timeout_s: float = 120.0, max_parallel: int = 4
) -> Service:
    """The service `grobid`; `pdfs` maps the sha256 of a file's bytes to its path."""
    # Loopback traffic must bypass http_proxy.
    client = httpx2.Client(timeout=timeout_s, trust_env=urlsplit(url).hostname not in LOCAL)

    def call(request: Mapping[str, Any]) -> dict[str, str]:
        return _process(client, url.rstrip("/") + PATH, pdfs[request["sha256"]])

    return Service(NAME, call, max_parallel=max_parallel)


def _process(client: httpx2.Client, url: str, path: Path) -> dict[str, str]:
    """One try. ServiceFault: any answer other than TEI."""
    files = {"input": (path.name, path.read_bytes(), "application/pdf")}
    try:
        response = client.post(url, data=FORM, files=files)
    except httpx2.HTTPError as error:
        raise ServiceFault(None, f"{url}: {error!r:.200}") from error
    if response.status_code != 200:
        wait_s = retry_after_s(response.headers.get("retry-after", ""))
        busy_s = BUSY_WAIT_S if response.status_code == 503 else 0.0
        message = " ".join(response.text.split())[:200] or response.reason_phrase
        raise ServiceFault(response.status_code, message, retry_after_s=wait_s or busy_s)
    if "<TEI" not in response.text:
        raise ServiceFault(None, f"no TEI: {response.text!r:.80}")
    return {"tei": response.text}
