"""Crossref, Wikipedia and GROBID are asked over real HTTP, through every fault that passes."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.papers.files import read_xml_paper
from datasets_src.recipes.contract import NoAnswer, Service
from datasets_src.recipes.services.crossref import crossref_service
from datasets_src.recipes.services.grobid import grobid_service
from datasets_src.recipes.services.wikipedia import wikipedia_service
from datasets_src.recipes.teacher.asker import ServiceClient, ServiceDown
from datasets_src.recipes.teacher.cache import ReplyCache
from tests.benchmarks.bench_lookups import measure
from tests.servers.lookup_answers import crossref, grobid, mediawiki
from tests.servers.lookup_server import CUT, STALL, LookUpServer

BOLETIN = Path("datasets_src/shipped/boletin")
WORKS = [json.loads(line) for line in (BOLETIN / "works.jsonl").read_text("utf-8").splitlines()]
TITLE = "Censo del tritón en Brañeda: métodos y resultados"
REQUEST = {"query": TITLE, "from_year": 2022, "until_year": 2024, "rows": 3}
TIMEOUT_S = 1.0

Fail = Callable[[LookUpServer, str], None]
# What passes: the next try finds an answer.
PASSING: dict[str, Fail] = {
    "too many": lambda s, p: s.fail(p, status=429, headers={"Retry-After": "0.1"}),
    "too many, a date": lambda s, p: s.fail(
        p, status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "error": lambda s, p: s.fail(p, status=500),
    "error in HTML": lambda s, p: s.fail(p, status=502, body=b"<html>", kind="text/html"),
    "slow": lambda s, p: s.fail(p, status=STALL),
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


def asker_of(service: Service, cache: ReplyCache) -> ServiceClient:
    return ServiceClient(service, cache, stop=threading.Event())


def of_crossref(server: LookUpServer, **more: Any) -> Service:
    return crossref_service(
        mailto="ana@example.org",
        base_url=server.url,
        timeout_s=TIMEOUT_S,
        requests_per_minute=6000,
        **more,
    )


def test_crossref_is_asked_politely_for_what_is_needed(cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        found = asker_of(of_crossref(server), cache).ask(REQUEST)
    [request] = server.requests
    assert found[0]["title"] == ["Censo del tritón en Brañeda"]
    assert found[0]["subtitle"] == ["métodos y resultados"]
    assert "mailto:ana@example.org" in request.headers["User-Agent"]
    assert request.query["query.bibliographic"] == TITLE
    assert request.query["filter"] == "from-pub-date:2022,until-pub-date:2024"
    assert request.query["rows"] == "3"


@pytest.mark.parametrize("fault", PASSING)
def test_crossref_is_asked_again_where_that_helps(fault: str, cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        PASSING[fault](server, "/works")
        asker = asker_of(of_crossref(server), cache)
        found = asker.ask(REQUEST)
        assert asker.ask(REQUEST) == found
    assert found[0]["title"] == ["Censo del tritón en Brañeda"]
    assert len(server.log) == 2  # the fault and the answer; the second question is answered here


def test_what_does_not_pass_is_told(cache: ReplyCache) -> None:
    with LookUpServer(crossref(WORKS)) as server:
        server.fail("/works", status=400)
        with pytest.raises(NoAnswer, match=r"refused by crossref .400.*scripted"):
            asker_of(of_crossref(server), cache).ask(REQUEST)
        server.fail("/works", status=404)
        with pytest.raises(UserError, match=r"404.*check its address"):
            asker_of(of_crossref(server), cache).ask(REQUEST)
        server.fail("/works", status=429, headers={"Retry-After": "86400"})
        with pytest.raises(ServiceDown, match="asks to wait 86400 s"):
            asker_of(of_crossref(server), cache).ask(REQUEST)


def test_many_look_ups_at_a_time_are_neither_lost_nor_misaligned() -> None:
    """A slice of the benchmark, which fails where a reply is another's."""
    figures = measure(60, 0.05)
    assert figures["lookups"] == 60
    assert figures["faults"] > 0


PDF = (BOLETIN / "papers/mirlo.pdf").read_bytes()
TEI = (BOLETIN / "papers/lludriga.tei.xml").read_bytes()


@pytest.mark.parametrize("fault", ["busy", "error", "slow", "cut", "HTML"])
def test_grobid_reads_a_pdf_whatever_passes(fault: str, cache: ReplyCache) -> None:
    pdfs = {"9f2c": BOLETIN / "papers/mirlo.pdf"}
    with LookUpServer(grobid({PDF: TEI})) as server:
        if fault == "busy":
            server.fail("Fulltext", status=503, headers={"Retry-After": "0.1"})
        else:
            PASSING[fault](server, "Fulltext")
        asker = asker_of(grobid_service(server.url, pdfs, timeout_s=TIMEOUT_S), cache)
        paper = read_xml_paper(asker.ask({"sha256": "9f2c"})["tei"].encode(), "a")
    assert len(paper.claims) == 8
    assert len(server.log) == 2
    assert b'filename="mirlo.pdf"' in server.requests[0].body


def test_grobid_that_finds_no_text_gives_no_answer(cache: ReplyCache) -> None:
    with LookUpServer(grobid({})) as server:
        service = grobid_service(server.url, {"9f2c": BOLETIN / "papers/mirlo.pdf"})
        with pytest.raises(NoAnswer, match=r"refused by grobid .204"):
            asker_of(service, cache).ask({"sha256": "9f2c"})


ARTICLE = (
    "El tritón es un anfibio.\n\n\n== Biología ==\n\n\n=== Cría ===\nCría en marzo.\nY en mayo."
    "\n\n\n== Referencias ==\nGil, 2019."
)


@pytest.fixture
def wikipedia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LookUpServer]:
    """All of Wikipedia: the library asks it alone, so a proxy leads it here."""
    with LookUpServer(mediawiki({"Tritón": (71, ARTICLE)}), tls=tmp_path) as server:
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        yield server


def of_wikipedia() -> Service:
    return wikipedia_service(
        user_agent="a-test (ana@example.org)", timeout_s=TIMEOUT_S, requests_per_minute=6000
    )


def test_wikipedia_gives_an_article_by_its_sections(
    wikipedia: LookUpServer, cache: ReplyCache
) -> None:
    asker = asker_of(of_wikipedia(), cache)
    assert asker.ask({"language": "ca", "title": "Tritón"}) == {
        "title": "Tritón",
        "pageid": 71,
        "sections": [
            {"title": "", "text": "El tritón es un anfibio."},
            {"title": "Biología / Cría", "text": "Cría en marzo.\nY en mayo."},
            {"title": "Referencias", "text": "Gil, 2019."},
        ],
    }
    missing = asker.ask({"language": "ca", "title": "Dragón"})
    assert missing == {"title": "Dragón", "pageid": None, "sections": []}
    request = wikipedia.requests[0]
    assert request.headers["Host"] == "ca.wikipedia.org"
    assert request.headers["User-Agent"].startswith("a-test (ana@example.org)")


@pytest.mark.parametrize("fault", PASSING)
def test_wikipedia_is_asked_again_where_that_helps(
    fault: str, wikipedia: LookUpServer, cache: ReplyCache
) -> None:
    PASSING[fault](wikipedia, "api.php")
    article = asker_of(of_wikipedia(), cache).ask({"language": "es", "title": "Tritón"})
    assert article["pageid"] == 71
    assert len(wikipedia.log) == 2
