"""The query families of the consultas set: slots, and the JSON that a filled one is parsed into.

parse(FAMILIES["since"], {"topic": …, "year": …}, "ca") -> {"doc_type": "projects", "filters":
    {…, "year": ">=2019", …}, "semantic_query": "aigua", …}

A slot's name says where its value goes; wordings.tsv says how each family is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_src.consultas import facts
from datasets_src.consultas.facts import Choice

Slots = Mapping[str, Choice]
DOMAINS = {
    "topic": facts.TOPICS,
    "programme": facts.PROGRAMMES,
    "org": facts.ORGANISATIONS,
    "place": facts.PLACES,
    "kind": facts.KINDS,
    "other": facts.KINDS,
    "level": facts.LEVELS,
    "year": facts.YEARS,
    "last": facts.YEARS,
    "k": facts.COUNTS,
}


@dataclass(frozen=True)
class Family:
    """`year` is how the filter says it; `metric` and `params` make a query one that quantifies.

    `of_organisations`: the place is that of the organisations, not of the project.
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
    "org": Family(("org",)),
    "since": Family(("topic", "year"), year=">={year}"),
    "until": Family(("topic", "year"), year="<={year}"),
    "between": Family(("topic", "year", "last"), year="{year}-{last}"),
    "programme_year": Family(("programme", "year"), year="{year}"),
    "place_topic": Family(("place", "topic")),
    "level_topic": Family(("level", "topic")),
    "kind_place": Family(("kind", "place"), of_organisations=True),
    "kind_topic": Family(("kind", "topic")),
    "two_kinds": Family(("kind", "other")),
    "publications": Family(("org", "topic"), doc_type="publications"),
    "per_year": Family(("place", "topic"), metric="count", params={"group_by": "year"}),
    "top": Family(("topic", "k"), metric="top", params={"field": "organisation"}),
}


def makes_sense(slots: Slots) -> bool:
    """Years in their order, and two kinds that differ."""
    if "last" in slots and not slots["year"].value < slots["last"].value:
        return False
    return not ("other" in slots and slots["kind"] == slots["other"])


def parse(family: Family, slots: Slots, language: str, *, rewrite: str) -> dict[str, Any]:
    """The target of a query, as IMPULSE has it; `rewrite` is its wording with canonical names."""
    values = {name: choice.value for name, choice in slots.items()}
    quantity: dict[str, Any] = {}
    if family.metric:
        ks = {"k": int(values["k"])} if "k" in values else {}
        quantity = {"metric": family.metric, "metric_params": {**ks, **(family.params or {})}}
    topic = slots.get("topic")
    return {
        "doc_type": family.doc_type,
        **quantity,
        "filters": {
            "programme": values.get("programme"),
            "funding_level": values.get("level"),
            "year": family.year.format(**values) or None,
            **_place(None if family.of_organisations else slots.get("place")),
        },
        "organisations": _organisations(family, slots),
        "semantic_query": topic.texts[language][0] if topic else None,
        "query_rewrite": rewrite,
        "meta": {"lang": language.upper()},
    }


def _place(place: Choice | None) -> dict[str, str | None]:
    return {
        "location": place.value if place else None,
        "location_level": place.kind if place else None,
    }


def _organisations(family: Family, slots: Slots) -> list[dict[str, str | None]]:
    """The one that is named, or those that are described by type and place."""
    place = _place(slots.get("place") if family.of_organisations else None)
    if "org" in slots:
        return [{"type": slots["org"].kind, "name": slots["org"].value, **place}]
    kinds = [slots[name] for name in ("kind", "other") if name in slots]
    return [{"type": kind.value, "name": None, **place} for kind in kinds]
