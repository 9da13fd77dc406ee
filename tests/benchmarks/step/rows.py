"""Tokenised rows for the step's benchmarks, and steps drawn from them.

rows = Rows.load(folder)      # also writes a tokenizer of 8,000 pieces to `folder`
rows.text2sql                 # BioSenda's 153 rows through our task, the schema in every prompt
rows.descriptions[order]      # every fourth of 2,200 inputs, 9 rows each: 3 wordings of 3 texts

Where the real data are absent: the shipped text-to-SQL rows, and descriptions of invented words.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from datasets_src.batching.trie import shared_lengths, sort_rows, trie_size
from datasets_src.chat.tokenise import open_tokenizer, plain_tokens, read_format
from datasets_src.reading.columns import map_rows
from datasets_src.reading.readers import read_rows
from datasets_src.task import load_task, task_options
from datasets_src.types import TokenizedExample
from trainers.config.load import load_config
from trainers.models.pocket.tokenizer import SPECIAL_TOKENS, train_tokenizer

ROOT = Path(__file__).resolve().parents[3]
BIOSENDA = ROOT / "../shared/data/biosenda"
VOCAB_SIZE = 8_000
NUM_REWORDINGS = 9
MAX_LENGTH = 1600  # the authors' own limit for descriptions
FIELDS = {
    "prompt": "### Prompt:::",
    "text": "### Descripcion a adaptar:::",
    "science": "### Descripción científica:::",
    "context": "### Información adicional:::",
}
ORDERS = {
    "original": ("prompt", "text", "science", "context"),
    "shared_first": ("science", "context", "text", "prompt"),
}
Step = list[TokenizedExample]


@dataclass(frozen=True)
class Rows:
    """Tokenised rows; descriptions are in groups, by the order of the prompt's fields."""

    source: str
    text2sql: Step
    descriptions: dict[str, list[Step]]

    @classmethod
    def load(cls, folder: Path) -> "Rows":
        """Read the rows, train a tokenizer on them, and tokenise them."""
        is_real = BIOSENDA.is_dir()
        sql = sql_texts("biosenda_text2sql" if is_real else "quickstart")
        groups = real_groups() if is_real else invented_groups()
        orders = {
            name: [[to_text(row, order) for row in group] for group in groups]
            for name, order in ORDERS.items()
        }
        texts = [text for group in orders["original"][::7] for pair in group[:1] for text in pair]
        train_tokenizer(folder, [*texts, *map("".join, sql)], vocab_size=VOCAB_SIZE)
        fmt = read_format(folder, "plain")
        encode = open_tokenizer(fmt)

        def tokenised(pairs: Sequence[tuple[str, str]], group: str) -> Step:
            return [
                TokenizedExample(f"{group}-{i}", group, tuple(made.input_ids), made.prompt_len)
                for i, made in enumerate(plain_tokens(fmt, encode, pairs))
            ]

        descriptions = {
            name: [tokenised(group, str(i)) for i, group in enumerate(groups)]
            for name, groups in orders.items()
        }
        return cls(
            "real" if is_real else "invented",
            tokenised(sql, "sql"),
            {name: [*filter(is_short, groups)] for name, groups in descriptions.items()},
        )


def sql_texts(config_name: str, split: str | None = None) -> list[tuple[str, str]]:
    """Plain (prompt, completion) pairs of a text2sql config, of one split or of all."""
    data = load_config(ROOT / f"jobs/configs/{config_name}.yaml")[0].data
    task, path = load_task(data.task), Path(data.train_file)
    rows = map_rows(
        read_rows(path, key="data.train_file"),
        data.columns,
        fields=task.FIELDS,
        path=path,
        key="data.train_file",
        id_prefix="",
    )
    examples = task.load(rows, task_options(task, data.task_options))
    return [task.to_text(e) for e in examples if split in (None, e.split)]


def real_groups() -> list[list[dict[str, str]]]:
    """Every fourth of the 2,200 inputs in 9 rewordings.

    The targets of these rows are not public. Here each target is its row's text, as in a quarter of
    the prompts of the authors' recipe, so that targets have realistic lengths.
    """
    species = {
        str(row["idtaxon"]): row
        for row in pq.read_table(BIOSENDA / "db/DescripcionesEspecies.parquet").to_pylist()
    }
    inputs = pq.read_table(BIOSENDA / "description_train_recipe_inputs.parquet").to_pylist()
    return [reword(row, species[str(row["idtaxon"])]) for row in inputs[::4]]


def invented_groups() -> list[list[dict[str, str]]]:
    """220 inputs of invented words and similar lengths, in 9 rewordings."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeilnorstáé", k=draw.randint(2, 9))) for _ in range(20_000)]

    def text(median: int, spread: float = 0.2) -> str:
        number = max(2, int(median * draw.lognormvariate(0, spread)))
        return " ".join(draw.choices(words, k=number))

    return [
        reword(
            {"prompt": text(11), "alt1": text(11), "alt2": text(11), "sql_json": text(10, 1.6)},
            {"Descripcion": text(100, 0.6), **{f"Gemini{k}": text(90) for k in (1, 2, 3)}},
        )
        for _ in range(220)
    ]


def reword(row: Mapping[str, Any], species: Mapping[str, Any]) -> list[dict[str, str]]:
    """3 wordings of the prompt times 3 texts of the species."""
    group = [
        {
            "prompt": str(row[wording]),
            "text": str(species[f"Gemini{number}"]),
            "science": str(species["Descripcion"]),
            "context": str(row["sql_json"]),
        }
        for number in (1, 2, 3)
        for wording in ("prompt", "alt1", "alt2")
    ]
    assert len(group) == NUM_REWORDINGS
    return group


def to_text(row: Mapping[str, str], order: Sequence[str]) -> tuple[str, str]:
    """BioSenda's prompt with its fields in `order`, and the completion."""
    fields = "".join(f"{FIELDS[name]}\n\n{row[name]}\n\n" for name in order)
    return f"{fields}### Nueva descripción:::\n\n", f"{row['text']}\n"


def is_short(group: Step) -> bool:
    """Whether no row exceeds MAX_LENGTH."""
    return max(len(row.input_ids) for row in group) <= MAX_LENGTH


def draw_steps(units: Sequence[Step], *, units_a_step: int, num_steps: int) -> list[Step]:
    """Of 101 random steps, the `num_steps` with padded and packed sizes nearest to the means.

    There is time for a few steps only, and one with an unusually long row or unusually long shared
    prefixes is not representative of a run.
    """
    draw = random.Random(0)
    steps = [[row for unit in draw.sample(units, units_a_step) for row in unit] for _ in range(101)]
    sizes = np.log([(padded_size(step), packed_size(step)) for step in steps])
    distances = np.abs(sizes - np.log(np.exp(sizes).mean(0))).sum(1)
    return [steps[i] for i in np.argsort(distances, kind="stable")[:num_steps]]


def padded_size(step: Step) -> int:
    """Tokens of the step's rows, padded to the longest."""
    return len(step) * max(len(row.input_ids) for row in step)


def packed_size(step: Step) -> int:
    """Tokens of the step's rows, with each distinct prefix counted once."""
    rows = [step[i].input_ids for i in sort_rows([row.input_ids for row in step])]
    return trie_size([len(row) for row in rows], shared_lengths(rows), min_share=8)


def relabel(steps: Sequence[Step], vocab_size: int) -> list[Step]:
    """The same rows with ids spread at random over a larger vocabulary; special tokens stay."""
    first = len(SPECIAL_TOKENS)
    new_ids = np.random.default_rng(0).permutation(np.arange(first, vocab_size))
    new = [*range(first), *new_ids[: VOCAB_SIZE - first].tolist()]
    return [
        [
            TokenizedExample(r.id, r.group, tuple(new[i] for i in r.input_ids), r.prompt_len)
            for r in step
        ]
        for step in steps
    ]


def write_steps(steps: Sequence[Step], path: Path) -> None:
    """Save steps as JSON, for another process."""
    path.write_text(json.dumps([[[r.input_ids, r.prompt_len] for r in step] for step in steps]))


def read_steps(path: Path) -> list[Step]:
    """What `write_steps` wrote."""
    return [
        [
            TokenizedExample(f"{number}-{i}", "", tuple(ids), prompt_len)
            for i, (ids, prompt_len) in enumerate(step)
        ]
        for number, step in enumerate(json.loads(path.read_text()))
    ]
