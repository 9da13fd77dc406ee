"""Rows from raw material: `python -m jobs.build RECIPE.yaml [key=value]`.

Checks the recipe, asks the teacher and the look-ups for what it lacks, checks what came back, and
writes a dataset that `jobs.prepare` and `datasets.load_dataset` read. The same command again finds
it there; after a kill, or once a cap was reached, it resumes and repeats no request.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets_src.files import sha256_file
from datasets_src.recipes.build import Built, Endpoint, Recipe, build, open_recipe
from datasets_src.recipes.teacher.client import read_key
from datasets_src.recipes.teacher.service_client import ServiceDown
from jobs.common.cli import key_lines, run_verb
from jobs.common.recipe_load import kind_of, load_recipe, recipe_leaves
from trainers.hub.dataset import check_dataset_hub, push_dataset
from trainers.process.signals import RunFailed, StopSignal

DESCRIPTION = "Build the dataset of a recipe."


def main(argv: list[str]) -> int:
    """Build the recipe's dataset and say what is in it; exit code 0, or a UserError."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.build",
        description=DESCRIPTION,
        epilog="\n".join(key_lines("recipe", recipe_leaves(kind_of(argv)))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    args, overrides = parser.parse_known_args(argv)
    recipe = open_recipe(load_recipe(args.recipe, overrides))
    StopSignal().install()
    is_pushed = recipe.config.hub_dataset_id is not None
    if is_pushed:
        check_dataset_hub(recipe.config)
    try:
        with teacher_endpoint(recipe) as endpoint:
            built = build(recipe, endpoint)
    except ServiceDown as error:
        raise RunFailed(f"{error}; what was answered is kept") from error
    print(tell(built))
    if not is_pushed:
        return 0
    pushed = push_dataset(recipe.config, built.directory)
    print(pushed.line())
    return 0 if pushed.ok else 1


@contextmanager
def teacher_endpoint(recipe: Recipe) -> Iterator[Endpoint | None]:
    """Where the teacher of a recipe answers; a GGUF is served here meanwhile."""
    teacher = recipe.config.teacher
    if teacher is None:
        yield None
    elif teacher.base_url is not None:
        yield Endpoint(teacher.base_url, name=teacher.base_url, key=read_key(teacher))
    else:
        from trainers.export.llama_server import LlamaServer
        from trainers.export.pocket_gguf import find_gguf

        assert teacher.gguf_file is not None, "TeacherConfig asks for one of the two"
        gguf = find_gguf(teacher.gguf_file)
        digest = sha256_file(gguf)
        with LlamaServer(gguf, context_tokens=teacher.context_tokens) as llama:
            # Another port each time: replies are kept under what the file holds.
            yield Endpoint(f"{llama.address}/v1", name=f"gguf:{digest}", key=llama.api_key)


def tell(built: Built) -> str:
    """What was built, for a terminal."""
    record = built.record
    lines = [("dataset", f"{built.directory}{'' if built.is_new else ' (already built)'}")]
    for name, num in record["num_rows"].items():
        lines.append((name, f"{num:,} rows, {record['num_groups'][name]:,} groups"))
    origins = ", ".join(f"{num:,} {name}" for name, num in record["origins"].items())
    lines.append(("origin", origins))
    lines += [
        ("left out", f"{d['num']:,}: {d['reason']} ({', '.join(d['examples'])})")
        for d in record["dropped"]
    ]
    if built.usage:
        lines.append(("teacher", f"{built.usage}, over all starts"))
    lines += list(_lengths(record["lengths"]))
    return "\n".join(f"{name:<12}{text}" for name, text in lines)


def _lengths(lengths: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("inputs", "outputs"):
        bins = lengths[name]
        counts = json.dumps(bins["counts"]).strip("[]")
        yield name, f"{counts} rows by tokens, {bins['edges'][1]:,} a step"
    for row in lengths["beside"]:  # the published lengths
        here, published = 100 * row["here"], 100 * row["published"]
        yield "", f"{here:.1f} % of inputs above {row['tokens']:,}, published {published:.1f} %"


if __name__ == "__main__":
    run_verb(main)
