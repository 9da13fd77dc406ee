"""What BioSenda's kind of recipe reads: wishes with their SQL, species with their texts.

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
    """How the targets of a prompt come about."""

    form: Literal["copy", "prefix", "suffix", "rewrite"] = "rewrite"
    affix: str = Field("", description="what a prefix or suffix says, with {columns} of the query")
    max_values: int = Field(3, ge=1, description="maximum number of values it lists per column")


class Options(Section):
    """`options:` of this kind."""

    prompts_file: str = Field(min_length=1, description="rows of group, wish, sql, split")
    prompts_columns: dict[str, str] = Field(
        default_factory=dict, description="group, wish, sql, split -> column of that file"
    )
    species_file: str = Field(min_length=1, description="rows of id, science and descriptions")
    species_columns: dict[str, str] = Field(
        default_factory=dict, description="id, science -> column of that file"
    )
    descriptions: tuple[str, ...] = Field(
        ("description",), min_length=1, description="its columns of texts to adapt"
    )
    pairs_file: str | None = Field(None, description="rows of group, id: which species to ask for")
    pairs_columns: dict[str, str] = Field(
        default_factory=dict, description="group, id -> column of that file"
    )
    held_out_species_file: str | None = Field(None, description="JSON list of ids held out")
    held_out_share: float = Field(0.1, ge=0, lt=1, description="share held out where none is given")
    species_per_prompt: int = Field(50, ge=1, description="species that each prompt is asked for")
    species_per_held_out_prompt: int = Field(5, ge=0, description="the same of held-out prompts")
    sample_seed: int = Field(42, ge=0, description="seed of these choices")
    num_wordings: int | None = Field(
        None, ge=1, description="wordings of a prompt; those that the file lacks are the teacher's"
    )
    database: str = Field(min_length=1, description="as data.task_options.database of text2sql")
    dialect: Dialect = Field("sqlite", description="dialect of the SQL")
    placeholder: str = Field("<id>", min_length=1, description="what in the SQL is the species")
    max_rows: int = Field(30, ge=1, description="rows of a result that are kept")
    sql_limit_s: float = Field(10.0, gt=0, description="seconds of the processor for a query")
    json_indent: int | None = Field(None, description="of the context; BioSenda's is 2")
    json_ascii: bool = Field(False, description="whether its letters are escaped to ASCII")
    families: dict[str, Family] = Field(
        default_factory=dict, description="group of a prompt -> {form, affix}; else a rewrite"
    )
    license: str = Field("CC-BY-SA-4.0", description="licence of the rows: that of their texts")
    rewrite: Prompt = Field(
        Prompt(
            template="Adapta la descripción a lo que se pide. Responde solo con el texto nuevo.\n\n"
            "Se pide: {wish}\n\nDescripción: {description}\n\nDescripción científica: {science}\n\n"
            "Datos: {context}"
        ),
        description="what the teacher is asked",
    )


@dataclass(frozen=True)
class Wish:
    """A prompt in all its wordings."""

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
    """All wordings with one group are one wish, with the SQL of the first.

    Where they are not all on one side, they go to that of most: wordings are never parted.
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
    """The species by their ids, the first row of each."""
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
    """The values under our names, as texts; UserError where one is missing."""
    read = {name: clean_key(row.get(column)) for name, column in names.items()}
    if empty := [names[name] for name, value in read.items() if not value]:
        raise UserError(
            f"{where}: nothing in column {', '.join(map(repr, empty))}; present:"
            f" {', '.join(row)}; fill it in, or map the columns in options"
        )
    return read


def read_held_out(options: Options, species: Mapping[str, Species]) -> frozenset[str]:
    """The ids on the validation side: those of the file, else a share by their hash."""
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
    """The species to ask a group for; none where they are drawn."""
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
