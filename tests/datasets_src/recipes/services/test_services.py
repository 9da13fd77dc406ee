"""Crossref, Wikipedia and GROBID over real HTTP, through every transient fault."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.papers.files import read_xml_paper
from datasets_src.recipes.contract import NoAnswer, Service, ServiceFault
from datasets_src.recipes.services.crossref import crossref_service
from datasets_src.recipes.services.grobid import grobid_service
from datasets_src.recipes.services.wikipedia import wikipedia_service
from datasets_src.recipes.teacher.cache import ReplyCache
from datasets_src.recipes.teacher.service_client import ServiceClient, ServiceDown
from tests.benchmarks.bench_lookups import measure
from tests.servers import lookup_server
from tests.servers.lookup_answers import crossref, grobid, mediawiki
from tests.servers.lookup_server import CUT, STALL, LookUpServer

BOLETIN = Path("datasets_src/shipped/boletin")
WORKS = [json.loads(line) for line in (BOLETIN / "works.jsonl").read_text("utf-8").splitlines()]
TITLE = "Censo del tritón en Brañeda: métodos y resultados"
REQUEST = {"query": TITLE, "from_year": 2022, "until_year": 2024, "rows": 3}
TIMEOUT_S = 60.0  # a guard: no answer of these tests takes a second
SHORT_TIMEOUT_S = 0.2

Fail = Callable[[LookUpServer, str], None]
# Transient faults: the next try gets an answer.
TRANSIENT: dict[str, Fail] = {
    "too many": lambda s, p: s.fail(p, status=429, headers={"Retry-After": "0.1"}),
    "too many, a date": lambda s, p: s.fail(
        p, status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "error": lambda s, p: s.fail(p, status=500),
    "error in HTML": lambda s, p: s.fail(p, status=502, body=b"<html>", kind="text/html"),
    "cut": lambda s, p: s.fail(p, status=CUT),
    "HTML": lambda s, p: s.fail(p, status=200, body=b"<html>maintenance", kind="text/html"),
    "not JSON": lambda s, p: s.fail(p, status=200, body=b'{"status": "ok", "mess'),
    "other JSON": lambda s, p: s.fail(p, status=200, body={"status": "ok", "message": []}),
    "no object": lambda s, p: s.fail(p, status=200, body=[1]),
}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    with ReplyCache(tmp_path / "replies.jsonl") as cache:
        yield cache


def client_of(service: Service, cache: ReplyCache) -> ServiceClient:
    return ServiceClient(service, cache, stop=threading.Event())


def of_crossref(server: LookUpServer, *, timeout_s: float = TIMEOUT_S) -> Service:
    return crossref_service(
        mailto="ana@example.org",
        base_url=server.url,
        timeout_s=timeout_s,
        requests_per_minute=6000,
    )


def check_timeout(service: Service, request: dict[str, Any]) -> None:
    """A server that stalls gives the fault that is retried, as a cut connection does."""
    with pytest.raises(ServiceFault) as caught:
        service.call(request)
    assert caught.value.status is None
    assert "tim" in str(caught.value).lower(), caught.value


@pytest.fixture
def _long_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stall that no client of these tests waits out."""
    monkeypatch.setattr(lookup_server, "STALL_S", 600.0)


def test_a_crossref_request_has_contact_filter_and_limit(cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        found = client_of(of_crossref(server), cache).fetch(REQUEST)
    [request] = server.requests
    assert found[0]["title"] == ["Censo del tritón en Brañeda"]
    assert found[0]["subtitle"] == ["métodos y resultados"]
    assert "mailto:ana@example.org" in request.headers["User-Agent"]
    assert request.query["query.bibliographic"] == TITLE
    assert request.query["filter"] == "from-pub-date:2022,until-pub-date:2024"
    assert request.query["rows"] == "3"


@pytest.mark.parametrize("fault", TRANSIENT)
def test_crossref_faults_are_retried(fault: str, cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        TRANSIENT[fault](server, "/works")
        client = client_of(of_crossref(server), cache)
        found = client.fetch(REQUEST)
        assert client.fetch(REQUEST) == found
    assert found[0]["title"] == ["Censo del tritón en Brañeda"]
    assert len(server.log) == 2  # the fault and the answer; the second fetch is a cache hit


@pytest.mark.usefixtures("_long_stall")
def test_a_stalled_crossref_times_out() -> None:
    with LookUpServer(crossref(WORKS)) as server:
        server.fail("/works", status=STALL)
        check_timeout(of_crossref(server, timeout_s=SHORT_TIMEOUT_S), REQUEST)


def test_permanent_faults_are_reported(cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        server.fail("/works", status=400)
        with pytest.raises(NoAnswer, match=r"refused by crossref .400.*scripted"):
            client_of(of_crossref(server), cache).fetch(REQUEST)
        server.fail("/works", status=404)
        with pytest.raises(UserError, match=r"404.*check its address"):
            client_of(of_crossref(server), cache).fetch(REQUEST)
        server.fail("/works", status=429, headers={"Retry-After": "86400"})
        with pytest.raises(ServiceDown, match="asks to wait 86400 s"):
            client_of(of_crossref(server), cache).fetch(REQUEST)


def test_concurrent_look_ups_are_neither_lost_nor_mixed_up() -> None:
    """A slice of the benchmark, which fails if a reply belongs to another request."""
    figures = measure(60, 0.05)
    assert figures["lookups"] == 60
    assert figures["faults"] > 0


PDF = (BOLETIN / "papers/mirlo.pdf").read_bytes()
TEI = (BOLETIN / "papers/lludriga.tei.xml").read_bytes()


@pytest.mark.parametrize("fault", ["busy", "error", "cut", "HTML"])
def test_grobid_reads_a_pdf_after_a_transient_fault(fault: str, cache: ReplyCache) -> None:
    pdfs = {"9f2c": BOLETIN / "papers/mirlo.pdf"}
    with LookUpServer(grobid({PDF: TEI})) as server:
        if fault == "busy":
            server.fail("Fulltext", status=503, headers={"Retry-After": "0.1"})
        else:
            TRANSIENT[fault](server, "Fulltext")
        client = client_of(grobid_service(server.url, pdfs, timeout_s=TIMEOUT_S), cache)
        paper = read_xml_paper(client.fetch({"sha256": "9f2c"})["tei"].encode(), "a")
    assert len(paper.claims) == 8
    assert len(server.log) == 2
    assert b'filename="mirlo.pdf"' in server.requests[0].body


@pytest.mark.usefixtures("_long_stall")
def test_a_stalled_grobid_times_out() -> None:
    pdfs = {"9f2c": BOLETIN / "papers/mirlo.pdf"}
    with LookUpServer(grobid({PDF: TEI})) as server:
        server.fail("Fulltext", status=STALL)
        check_timeout(
            grobid_service(server.url, pdfs, timeout_s=SHORT_TIMEOUT_S), {"sha256": "9f2c"}
        )


def test_grobid_without_text_gives_no_answer(cache: ReplyCache) -> None:
    with LookUpServer(grobid({})) as server:
        service = grobid_service(server.url, {"9f2c": BOLETIN / "papers/mirlo.pdf"})
        with pytest.raises(NoAnswer, match=r"refused by grobid .204"):
            client_of(service, cache).fetch({"sha256": "9f2c"})


ARTICLE = (
    "El tritón es un anfibio.\n\n\n== Biología ==\n\n\n=== Cría ===\nCría en marzo.\nY en mayo."
    "\n\n\n== Referencias ==\nGil, 2019."
)


@pytest.fixture
def wikipedia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LookUpServer]:
    """Replaces wikipedia.org: the library has no base URL, so HTTPS_PROXY redirects it."""
    with LookUpServer(mediawiki({"Tritón": (71, ARTICLE)}), tls=tmp_path) as server:
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        yield server


def of_wikipedia(timeout_s: float = TIMEOUT_S) -> Service:
    return wikipedia_service(
        user_agent="a-test (ana@example.org)", timeout_s=timeout_s, requests_per_minute=6000
    )


def test_wikipedia_gives_an_article_by_its_sections(
    wikipedia: LookUpServer, cache: ReplyCache
) -> None:
    client = client_of(of_wikipedia(), cache)
    assert client.fetch({"language": "ca", "title": "Tritón"}) == {
        "title": "Tritón",
        "pageid": 71,
        "sections": [
            {"title": "", "text": "El tritón es un anfibio."},
            {"title": "Biología / Cría", "text": "Cría en marzo.\nY en mayo."},
            {"title": "Referencias", "text": "Gil, 2019."},
        ],
    }
    missing = client.fetch({"language": "ca", "title": "Dragón"})
    assert missing == {"title": "Dragón", "pageid": None, "sections": []}
    request = wikipedia.requests[0]
    assert request.headers["Host"] == "ca.wikipedia.org"
    assert request.headers["User-Agent"].startswith("a-test (ana@example.org)")


@pytest.mark.parametrize("fault", TRANSIENT)
def test_wikipedia_faults_are_retried(
    fault: str, wikipedia: LookUpServer, cache: ReplyCache
) -> None:
    TRANSIENT[fault](wikipedia, "api.php")
    article = client_of(of_wikipedia(), cache).fetch({"language": "es", "title": "Tritón"})
    assert article["pageid"] == 71
    assert len(wikipedia.log) == 2


@pytest.mark.usefixtures("_long_stall")
def test_a_stalled_wikipedia_times_out(wikipedia: LookUpServer) -> None:
    wikipedia.fail("api.php", status=STALL)
    check_timeout(of_wikipedia(SHORT_TIMEOUT_S), {"language": "es", "title": "Tritón"})
