"""Options and input files of the kind `biosenda`: wishes with their SQL, species with texts.

read_wishes(options)[0].wordings        ("Pon el grupo primero", "Primero el grupo")
read_species(options)["7"]              Species("7", "Mamífero …", ("La nutria …", "Una nutria …"))
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.reading.columns import clean_key
from datasets_src.reading.readers import read_rows
from datasets_src.recipes.contract import Prompt
from datasets_src.split import TRAIN, VALIDATION, hash_side, normalise_side
from datasets_src.sql.text import Dialect


class Family(Section):
    """How the targets of a prompt are made."""

    form: Literal["copy", "prefix", "suffix", "rewrite"] = "rewrite"
    affix: str = Field("", description="text of a prefix or suffix, with {columns} of the query")
    max_values: int = Field(3, ge=1, description="max values of a column to list")


class Options(Section):
    """`options:` of the kind."""

    prompts_file: str = Field(min_length=1, description="rows of group, wish, sql, split")
    prompts_columns: dict[str, str] = Field(
        default_factory=dict, description="group, wish, sql, split -> column of that file"
    )
    species_file: str = Field(min_length=1, description="rows of id, science and descriptions")
    species_columns: dict[str, str] = Field(
        default_factory=dict, description="id, science -> column of that file"
    )
    descriptions: tuple[str, ...] = Field(
        ("description",),
        min_length=1,
        description="columns of species_file with the texts to adapt",
    )
    pairs_file: str | None = Field(None, description="rows of group, id: species of each prompt")
    pairs_columns: dict[str, str] = Field(
        default_factory=dict, description="group, id -> column of that file"
    )
    held_out_species_file: str | None = Field(None, description="JSON list of held-out species ids")
    held_out_share: float = Field(
        0.1, ge=0, lt=1, description="share of species held out if no file is given"
    )
    species_per_prompt: int = Field(50, ge=1, description="species per training prompt")
    species_per_held_out_prompt: int = Field(5, ge=0, description="species per held-out prompt")
    sample_seed: int = Field(42, ge=0, description="random seed of these choices")
    num_wordings: int | None = Field(
        None, ge=1, description="wordings of a prompt; the teacher writes the missing ones"
    )
    database: str = Field(min_length=1, description="as data.task_options.database of text2sql")
    dialect: Dialect = Field("sqlite", description="dialect of the SQL")
    placeholder: str = Field(
        "<id>", min_length=1, description="placeholder of the species id in the SQL"
    )
    max_rows: int = Field(30, ge=1, description="max rows of a query result")
    sql_limit_s: float = Field(10.0, gt=0, description="CPU time limit of a query, in seconds")
    json_indent: int | None = Field(None, description="JSON indent of the context; BioSenda uses 2")
    json_ascii: bool = Field(False, description="escape non-ASCII characters in the context")
    families: dict[str, Family] = Field(
        default_factory=dict, description="group of a prompt -> {form, affix}; default: rewrite"
    )
    license: str = Field("CC-BY-SA-4.0", description="licence of the texts, given to the rows")
    rewrite: Prompt = Field(
        Prompt(
            template="Adapta la descripción a lo que se pide. Responde solo con el texto nuevo.\n\n"
            "Se pide: {wish}\n\nDescripción: {description}\n\nDescripción científica: {science}\n\n"
            "Datos: {context}"
        ),
        description="prompt for the teacher",
    )


@dataclass(frozen=True)
class Wish:
    """A prompt with all its wordings."""

    group: str
    wordings: tuple[str, ...]
    sql: str
    family: Family
    split: str


@dataclass(frozen=True)
class Species:
    """A species and its texts."""

    id: str
    science: str
    descriptions: tuple[str, ...]


def read_wishes(options: Options) -> list[Wish]:
    """Group the wordings into wishes; each takes the SQL of its first wording.

    A wish whose wordings have different splits goes to the most frequent one: wordings of one wish
    are never split.
    """
    names = {name: options.prompts_columns.get(name, name) for name in ("group", "wish", "sql")}
    split = options.prompts_columns.get("split", "split")
    key, path = "options.prompts_file", Path(options.prompts_file).expanduser()
    by_group: dict[str, list[dict[str, str]]] = defaultdict(list)
    for number, row in enumerate(read_rows(path, key=key), start=1):
        read = _texts(row, names, where=f"{key}: {path}: row {number}")
        side = normalise_side(clean_key(row.get(split)) or TRAIN)
        by_group[read["group"]].append(read | {"split": TRAIN if side == TRAIN else VALIDATION})
    return [
        Wish(
            group,
            tuple(dict.fromkeys(row["wish"] for row in rows)),
            rows[0]["sql"].strip().rstrip(";"),
            options.families.get(group, Family()),
            Counter(row["split"] for row in rows).most_common(1)[0][0],
        )
        for group, rows in by_group.items()
    ]


def read_species(options: Options) -> dict[str, Species]:
    """Species by id; the first row of an id wins."""
    names = {name: options.species_columns.get(name, name) for name in ("id", "science")}
    names |= {column: column for column in options.descriptions}
    key, path = "options.species_file", Path(options.species_file).expanduser()
    species: dict[str, Species] = {}
    for number, row in enumerate(read_rows(path, key=key), start=1):
        read = _texts(row, names, where=f"{key}: {path}: row {number}")
        texts = tuple(read[column] for column in options.descriptions)
        species.setdefault(read["id"], Species(read["id"], read["science"], texts))
    return species


def _texts(row: Mapping[str, Any], names: Mapping[str, str], *, where: str) -> dict[str, str]:
    """The values by field name, as strings. UserError: an empty value."""
    read = {name: clean_key(row.get(column)) for name, column in names.items()}
    if empty := [names[name] for name, value in read.items() if not value]:
        raise UserError(
            f"{where}: nothing in column {', '.join(map(repr, empty))}; present:"
            f" {', '.join(row)}; fill it in, or map the columns in options"
        )
    return read


def read_held_out(options: Options, species: Mapping[str, Species]) -> frozenset[str]:
    """The held-out ids: those of the file, else a share chosen by hash."""
    if options.held_out_species_file is None:
        size, seed = options.held_out_share, options.sample_seed
        return frozenset(s for s in species if hash_side(s, size=size, seed=seed) == VALIDATION)
    path = Path(options.held_out_species_file).expanduser()
    try:
        return frozenset(clean_key(id) for id in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"options.held_out_species_file: {path} cannot be read ({error}); give a JSON file"
            " with a list of ids"
        ) from None


def read_pairs(options: Options, species: Mapping[str, Species]) -> dict[str, tuple[str, ...]]:
    """Species ids by prompt group; empty if no file is given."""
    if options.pairs_file is None:
        return {}
    names = {name: options.pairs_columns.get(name, name) for name in ("group", "id")}
    key, path = "options.pairs_file", Path(options.pairs_file).expanduser()
    pairs: dict[str, dict[str, None]] = defaultdict(dict)
    for number, row in enumerate(read_rows(path, key=key), start=1):
        where = f"{key}: {path}: row {number}"
        read = _texts(row, names, where=where)
        if read["id"] not in species:
            raise UserError(f"{where}: no species {read['id']!r} in options.species_file; add it")
        pairs[read["group"]][read["id"]] = None
    return {group: tuple(ids) for group, ids in pairs.items()}
