"""The query families of the consultas set: slots, and the JSON target of filled slots.

parse(FAMILIES["since"], {"topic": topic, "year": year}, "ca", rewrite="nutria des de 2019")
-> {"doc_type": "projects", "filters": {…, "year": ">=2019", …}, "semantic_query": "nutria", …}

A slot's name determines the JSON field; wordings.tsv has the wordings of each family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_src.generators.consultas import facts
from datasets_src.generators.consultas.facts import Choice

Slots = Mapping[str, Choice]
DOMAINS = {
    "topic": facts.TOPICS,
    "programme": facts.PROGRAMMES,
    "org": facts.ORGANISATIONS,
    "place": facts.PLACES,
    "kind": facts.KINDS,
    "level": facts.LEVELS,
    "year": facts.YEARS,
    "k": facts.COUNTS,
}


@dataclass(frozen=True)
class Family:
    """`year` is the filter's template; a `metric` with `params` makes a quantifying query.

    `of_organisations`: the place belongs to the organisations, not to the project.
    """

    slots: tuple[str, ...]
    year: str = ""
    doc_type: str = "projects"
    of_organisations: bool = False
    metric: str = ""
    params: Mapping[str, Any] | None = None


FAMILIES = {
    "topic": Family(("topic",)),
    "programme_topic": Family(("programme", "topic")),
    "org_topic": Family(("org", "topic")),
    "since": Family(("topic", "year"), year=">={year}"),
    "programme_year": Family(("programme", "year"), year="{year}"),
    "place_topic": Family(("place", "topic")),
    "level_topic": Family(("level", "topic")),
    "kind_place": Family(("kind", "place"), of_organisations=True),
    "publications": Family(("org", "topic"), doc_type="publications"),
    "top": Family(("topic", "k"), metric="top", params={"field": "organisation"}),
}


def parse(family: Family, slots: Slots, language: str, *, rewrite: str) -> dict[str, Any]:
    """The target in IMPULSE's format; `rewrite` is the wording with canonical names."""
    values = {name: choice.value for name, choice in slots.items()}
    quantity: dict[str, Any] = {}
    if family.metric:
        ks = {"k": int(values["k"])} if "k" in values else {}
        quantity = {"metric": family.metric, "metric_params": {**ks, **(family.params or {})}}
    topic = slots.get("topic")
    # Fields copied from the query come first: a small model learns this order best.
    return {
        "query_rewrite": rewrite,
        "semantic_query": topic.texts[language][0] if topic else None,
        "organisations": _organisations(family, slots),
        "doc_type": family.doc_type,
        **quantity,
        "filters": {
            "programme": values.get("programme"),
            "funding_level": values.get("level"),
            "year": family.year.format(**values) or None,
            **_place(None if family.of_organisations else slots.get("place")),
        },
        "meta": {"lang": language.upper()},
    }


def _place(place: Choice | None) -> dict[str, str | None]:
    return {
        "location": place.value if place else None,
        "location_level": place.kind if place else None,
    }


def _organisations(family: Family, slots: Slots) -> list[dict[str, str | None]]:
    """The named organisation, or any of a type at a place."""
    place = _place(slots.get("place") if family.of_organisations else None)
    if "org" in slots:
        return [{"type": slots["org"].kind, "name": slots["org"].value, **place}]
    return [{"type": slots["kind"].value, "name": None, **place}] if "kind" in slots else []
