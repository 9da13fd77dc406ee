"""Wikipedia articles, by wikipedia-api: https://es.wikipedia.org/w/api.php

service = wikipedia_service(user_agent="my-project (ana@example.org)")
service.call({"language": "es", "title": "Tritón"})
{"title": "Tritón (animal)", "pageid": 71, "sections": [{"title": "", "text": "Los tritones …"},
 {"title": "Biología / Cría", "text": "Migran en marzo …"}]}

`pageid` is null if the article does not exist. Wikipedia rejects requests without a contact address
in `user_agent` (https://meta.wikimedia.org/wiki/User-Agent_policy). The library always connects to
https://<language>.wikipedia.org; HTTPS_PROXY and REQUESTS_CA_BUNDLE redirect it to a mirror.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import wikipediaapi

from datasets_src.recipes.contract import Service, ServiceFault

NAME = "wikipedia"
# Wikipedia's etiquette: sequential requests are always fine.
REQUESTS_PER_MINUTE, MAX_PARALLEL = 200.0, 2


def wikipedia_service(
    *,
    user_agent: str,
    timeout_s: float = 30.0,
    requests_per_minute: float = REQUESTS_PER_MINUTE,
) -> Service:
    """The service `wikipedia`: the article for {"language", "title"}."""

    def call(request: Mapping[str, Any]) -> dict[str, Any]:
        # The library's own retries are off: ServiceClient retries.
        wiki = wikipediaapi.Wikipedia(
            user_agent, request["language"], max_retries=0, timeout=timeout_s
        )
        return _article(wiki, request["title"])

    return Service(NAME, call, requests_per_minute=requests_per_minute, max_parallel=MAX_PARALLEL)


def _article(wiki: wikipediaapi.Wikipedia, title: str) -> dict[str, Any]:
    """One try. ServiceFault: any answer other than an article or its absence."""
    page = wiki.page(title)
    try:
        summary = page.summary
        if page.pageid == -1:
            return {"title": title, "pageid": None, "sections": []}
        # If a page begins with a heading, the library returns all of it as the summary.
        lead = "" if summary.startswith("==") else summary
        parts = [("", lead), *_sections(page.sections)]
        kept = [{"title": title, "text": text} for title, text in parts if text]
        return {"title": page.title, "pageid": page.pageid, "sections": kept}
    except wikipediaapi.WikiRateLimitError as error:
        raise ServiceFault(429, str(error), retry_after_s=float(error.retry_after or 0)) from error
    except wikipediaapi.WikiHttpError as error:
        raise ServiceFault(error.status_code, str(error)) from error
    except wikipediaapi.WikipediaException as error:
        raise ServiceFault(None, f"{type(error).__name__}: {error}") from error
    # The library does not validate the response.
    except (LookupError, TypeError, AttributeError) as error:
        raise ServiceFault(None, f"no article in the answer: {error!r:.200}") from error


def _sections(
    sections: Sequence[wikipediaapi.WikipediaPageSection], above: str = ""
) -> Iterator[tuple[str, str]]:
    """(title path, text) of each section, in the order of the article."""
    for section in sections:
        title = f"{above} / {section.title}" if above else section.title
        yield title, section.text.strip()
        yield from _sections(section.sections, title)
