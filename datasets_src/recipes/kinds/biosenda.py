"""Descriptions adapted to a wish, as BioSenda's: prompts x species x (descriptions x wordings).

    prompts_file    {"group": "12", "wish": "Pon el grupo primero", "sql": "SELECT grupo FROM
                     especies WHERE id = <id>", "split": "train"}       one line per wording
    species_file    {"id": "7", "science": "Mamífero …", "text_1": "La nutria …", "text_2": "…"}
    makes           {"id": "12:7:0:2", "group": "12:7", "wish": "…", "description": "…",
                     "science": "…", "context": "[{\\"grupo\\": \\"mamífero\\"}]", "target": "…"}

Each prompt's SQL runs for each of its species, and the result is the context. Targets that need no
teacher are derived: a `copy` family keeps the description (no text can fulfil the wish), a `prefix`
or `suffix` family adds a sentence made from the query result, or copies if the result is empty. The
teacher writes the `rewrite` families, once per description for all wordings of the wish; without a
teacher those rows are unfilled.

Held-out species are paired only with held-out prompts, so the splits share neither.
"""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from datasets_src.errors import UserError
from datasets_src.recipes.contract import TEACHER, Dropped, Item, NoAnswer, Row, TeacherSession
from datasets_src.recipes.sources.species import (
    Family,
    Options,
    Species,
    Wish,
    read_held_out,
    read_pairs,
    read_species,
    read_wishes,
)
from datasets_src.recipes.sources.sql_rows import QueryFault, Rows, SqlTable, open_table
from datasets_src.split import VALIDATION, share_of

TASK, OUTPUT = "descriptions", "target"
DEPENDS_ON = ("description",)
PLACEHOLDERS = {
    "rewrite": {
        "wish": "the user's request",
        "description": "the text to adapt",
        "science": "the scientific description",
        "context": "rows of the database as JSON",
    }
}
MUST_NAME = {"rewrite": ("wish", "description")}
LICENSE = "CC-BY-SA-4.0"  # default of `options.license`
UNFILLED = "unfilled"
NO_ROWS = "SQL that does not run"


@dataclass(frozen=True)
class Material:
    """The checked contents of the files."""

    options: Options
    wishes: Sequence[Wish]
    species: Mapping[str, Species]
    held_out: frozenset[str]
    pairs: Mapping[str, tuple[str, ...]]  # by group; empty: species are sampled
    table: SqlTable


def open_material(options: Options) -> Material:
    """Read the files and run each query once. UserError: all faults of the queries and affixes."""
    wishes, species = read_wishes(options), read_species(options)
    held_out = read_held_out(options, species)
    table = open_table(
        options.database,
        dialect=options.dialect,
        max_rows=options.max_rows,
        limit_s=options.sql_limit_s,
    )
    first = next(iter(species))
    faults = [fault for wish in wishes for fault in _query_faults(wish, first, table, options)]
    unknown = sorted(options.families.keys() - {wish.group for wish in wishes})
    faults += [f"options.families.{group}: no prompt has this group" for group in unknown]
    if faults:
        raise UserError(*faults)
    return Material(options, wishes, species, held_out, read_pairs(options, species), table)


def _query_faults(wish: Wish, id: str, table: SqlTable, options: Options) -> Iterator[str]:
    """Faults of a prompt's SQL and of the columns that its affix names."""
    named = {name for _, name, _, _ in string.Formatter().parse(wish.family.affix) if name}
    try:
        columns = table.columns(wish.sql.replace(options.placeholder, id))
    except QueryFault as fault:
        yield f"options.prompts_file: the sql of group {wish.group} does not run ({fault}); fix it"
        return
    if wish.family.form in ("prefix", "suffix") and not named:
        yield f"options.families.{wish.group}.affix: names no column; known: {', '.join(columns)}"
    for name in sorted(named - set(columns)):
        yield (
            f"options.families.{wish.group}.affix: the query has no column {{{name}}}; known:"
            f" {', '.join(columns)}"
        )


def items(material: Material) -> Iterator[Item]:
    """One item per prompt and species, prompts in file order."""
    for wish in material.wishes:
        for id in _species_of(wish, material):
            yield Item(f"{wish.group}:{id}", (wish, material.species[id]))


def _species_of(wish: Wish, material: Material) -> Sequence[str]:
    """Species of the prompt's split, sampled by hash: changing the number keeps the others."""
    options = material.options
    if material.pairs:
        keys = (wish.group, *wish.wordings)  # pairs may name a prompt by its wording
        return next((material.pairs[key] for key in keys if key in material.pairs), ())
    is_held_out = wish.split == VALIDATION
    num = options.species_per_held_out_prompt if is_held_out else options.species_per_prompt
    candidates = [id for id in material.species if (id in material.held_out) == is_held_out]
    candidates.sort(key=lambda id: (share_of(f"{wish.group}:{id}", seed=options.sample_seed), id))
    return candidates[:num]


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """One row per description and wording."""
    wish, species = item.data
    options = material.options
    try:
        rows = material.table.rows(wish.sql.replace(options.placeholder, species.id))
    except QueryFault as fault:
        yield Dropped(item.id, NO_ROWS, str(fault), is_bad=True)
        return
    context = json.dumps(rows, indent=options.json_indent, ensure_ascii=options.json_ascii)
    wordings = _wordings(wish, options, session)
    for number, description in enumerate(species.descriptions):
        shown = {"description": description, "science": species.science, "context": context}
        try:
            target, origin = _target(wish, rows, shown, options, session)
        except NoAnswer as error:
            yield Dropped(f"{item.id}:{number}", error.reason, error.detail, is_bad=True)
            continue
        for at, wording in enumerate(wordings):
            yield Row(
                id=f"{item.id}:{number}:{at}",
                group=item.id,
                fields={"wish": wording, **shown, "target": target},
                origin=origin,
                sources=(f"species:{species.id}", f"prompt:{wish.group}"),
                license=options.license,
                split=_split(wish, material),
            )


def _split(wish: Wish, material: Material) -> str | None:
    """None if no prompt is held out: then rows are split by group."""
    return wish.split if any(w.split == VALIDATION for w in material.wishes) else None


def _wordings(wish: Wish, options: Options, session: TeacherSession) -> tuple[str, ...]:
    num = options.num_wordings
    if num is None or num <= len(wish.wordings):
        return wish.wordings[:num]
    return (*wish.wordings, *session.reword(wish.wordings[0], num=num - len(wish.wordings)))


def _target(
    wish: Wish, rows: Rows, shown: Mapping[str, str], options: Options, session: TeacherSession
) -> tuple[str | None, str]:
    """The target (None: unfilled) and the origin for a description."""
    family, description = wish.family, shown["description"]
    if family.form == "rewrite":
        if not session.has_teacher:
            return None, UNFILLED
        fields = {"wish": wish.wordings[0], **shown}
        return session.teach(options.rewrite, fields).text, TEACHER
    affix = "" if family.form == "copy" else _affix(family, rows)
    if not affix:
        return description, "copy"
    parts = (affix, description) if family.form == "prefix" else (description, affix)
    return " ".join(parts), family.form


def _affix(family: Family, rows: Rows) -> str:
    """The affix filled with each column's distinct values; "" if a column has none."""
    values: dict[str, str] = {}
    for _, name, _, _ in string.Formatter().parse(family.affix):
        if name:
            found = dict.fromkeys(str(row[name]) for row in rows if row[name] is not None)
            values[name] = "; ".join(list(found)[: family.max_values])
    return family.affix.format_map(values) if all(values.values()) else ""
