"""Responses of Crossref, Wikipedia and GROBID from given records.

with LookUpServer(crossref(WORKS)) as server: ...
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rapidfuzz import fuzz, process

from datasets_src.text.folding import all_words
from tests.servers.lookup_server import Answer, Reply, Request


def crossref(works: Sequence[Mapping[str, Any]]) -> Answer:
    """/works: works of the requested years, the most similar first, with the fields of `select`."""
    titles = [" ".join(all_words(f"{w['title'][0]} {_subtitle(w)}")) for w in works]

    def answer(request: Request) -> Reply:
        if request.path != "/works":
            return Reply({"status": "error", "message": "Resource not found."}, 404)
        wanted = dict(
            part.split(":", 1) for part in request.query.get("filter", "").split(",") if part
        )
        low = int(wanted.get("from-pub-date", 0))
        high = int(wanted.get("until-pub-date", 9999))
        query = " ".join(all_words(request.query["query.bibliographic"]))
        found = process.extract(query, titles, scorer=fuzz.WRatio, limit=50)
        near = [works[i] for _, _, i in found if low <= _year(works[i]) <= high]
        fields = request.query["select"].split(",")
        items = [{name: w[name] for name in fields if name in w} for w in near]
        message = {"total-results": len(near), "items": items[: int(request.query["rows"])]}
        return Reply({"status": "ok", "message-type": "work-list", "message": message})

    return answer


def _subtitle(work: Mapping[str, Any]) -> str:
    return " ".join(work.get("subtitle", ()))


def _year(work: Mapping[str, Any]) -> int:
    return int(work["issued"]["date-parts"][0][0])


def mediawiki(articles: Mapping[str, tuple[int, str]]) -> Answer:
    """api.php: the text of an article by title, in the format of TextExtracts."""

    def answer(request: Request) -> Reply:
        title = request.query["titles"]
        if title not in articles:
            page = {"ns": 0, "title": title, "missing": ""}
            return Reply({"batchcomplete": "", "query": {"pages": {"-1": page}}})
        pageid, text = articles[title]
        page = {"pageid": pageid, "ns": 0, "title": title, "extract": text}
        return Reply({"batchcomplete": "", "query": {"pages": {str(pageid): page}}})

    return answer


def grobid(tei_of: Mapping[bytes, bytes]) -> Answer:
    """/api/processFulltextDocument: the TEI of a known PDF; 204 for an unknown one."""

    def answer(request: Request) -> Reply:
        if (request.method, request.path) != ("POST", "/api/processFulltextDocument"):
            return Reply(b"", 404, kind="text/plain")
        for pdf, tei in tei_of.items():
            if b'name="input"' in request.body and pdf in request.body:
                return Reply(tei, kind="application/xml")
        return Reply(b"", 204)

    return answer
