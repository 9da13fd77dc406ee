"""A recipe to a dataset: check, make the rows, check them, write.

built = build(recipe, Endpoint("https://…/v1", name="https://…/v1", key="sk-…"))
built.directory, built.record["num_rows"], built.usage   -> "312 answers, 401,120 tokens, 0.41"

The same call again finds the dataset; after a kill it resumes, as all replies are cached.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.recipes.config import (
    RecipeConfig,
    kind_options,
    load_kind,
    prompts_of,
    recipe_hash,
)
from datasets_src.recipes.contract import Dropped, Item, Service
from datasets_src.recipes.dataset import Record, find_built, write_dataset
from datasets_src.recipes.lengths import open_measure
from datasets_src.recipes.results import Results
from datasets_src.recipes.teacher.asker import ServiceClient
from datasets_src.recipes.teacher.cache import ReplyCache
from datasets_src.recipes.teacher.client import ChatClient, TeacherConfig, most_of, used_by
from datasets_src.recipes.teacher.desk import (
    REWORD,
    REWORD_KEY,
    REWORD_RULES,
    TEACHER_SERVICE,
    OpenDesk,
)
from datasets_src.recipes.teacher.meter import Meter, Prices, Usage
from datasets_src.recipes.teacher.pace import Pace
from datasets_src.recipes.teacher.prompts import PromptBook
from datasets_src.recipes.work import make_all

REPLIES = ".replies"


@dataclass(frozen=True)
class Endpoint:
    """Where the teacher answers. `name` is what its replies are kept under."""

    base_url: str
    name: str
    key: str = ""


@dataclass(frozen=True)
class Built:
    """A complete dataset. `usage` is what the teacher used; "" for one that was built before."""

    directory: Path
    record: Record
    usage: str
    is_new: bool


@dataclass(frozen=True)
class Recipe:
    """A recipe whose prompts and options are checked."""

    config: RecipeConfig
    kind: ModuleType
    options: Section
    book: PromptBook


def open_recipe(config: RecipeConfig) -> Recipe:
    """Check all that can be checked before anything is opened. UserError: every fault of it."""
    kind = load_kind(config.kind)
    options = kind_options(kind, config.options)
    rules, prompts = prompts_of(kind, options)
    book = PromptBook(rules | {REWORD_KEY: REWORD_RULES}, prompts | {REWORD_KEY: REWORD})
    return Recipe(config, kind, options, book)


def build(recipe: Recipe, endpoint: Endpoint | None) -> Built:
    """The dataset of a recipe, made now or found.

    Raises:
        UserError: an error of the user's, a cap that is reached, rows that fail their checks.
        ServiceDown: the teacher or a look-up does not answer.
    """
    config, kind = recipe.config, recipe.kind
    directory = Path(config.output_dir).expanduser() / config.build_name
    name = endpoint.name if endpoint else ""
    digest = recipe_hash(config, kind, recipe.options, endpoint=name)
    if record := find_built(directory, digest):
        return Built(directory, record, "", is_new=False)
    measure = open_measure(config.lengths)
    material = kind.open_material(recipe.options)
    items = _checked_items(kind, material)
    results = Results(config, kind)
    results.check_material(items)
    replies = directory.parent / REPLIES / f"{config.build_name}.jsonl"
    with ReplyCache(replies) as cache, _open_desk(recipe, endpoint, cache) as (desk, stop):
        for made in make_all(
            kind,
            items,
            material,
            desk=desk,
            num_threads=config.num_threads,
            stop=stop,
            usage=desk.usage,
        ):
            results.add(made)
        results.check_bad(len(items))
        report = kind.report(material) if hasattr(kind, "report") else {}
        results.prune(measure)
        results.check_dependence()
        record = results.record(recipe_hash=digest, teacher=desk.teacher_record(), report=report)
        write_dataset(directory, results.rows, record=record, output=kind.OUTPUT)
        return Built(directory, record, desk.usage(), is_new=True)


def _checked_items(kind: ModuleType, material: Any) -> Sequence[Item | Dropped]:
    items: list[Item | Dropped] = list(kind.items(material))
    if not items:
        raise UserError("options: the recipe finds nothing to do in its files; look into them")
    twice = [id for id, num in Counter(item.id for item in items).items() if num > 1]
    assert not twice, f"items with one id: {twice[:3]}"
    return items


@contextmanager
def _open_desk(
    recipe: Recipe, endpoint: Endpoint | None, cache: ReplyCache
) -> Iterator[tuple[OpenDesk, threading.Event]]:
    """The desk of a build, and what stops all that wait there."""
    stop, config = threading.Event(), recipe.config.teacher
    services = recipe.kind.services(recipe.options) if hasattr(recipe.kind, "services") else ()
    with ExitStack() as stack:
        askers = {service.name: ServiceClient(service, cache, stop=stop) for service in services}
        if config is not None and endpoint is not None:
            client = ChatClient(config, base_url=endpoint.base_url, key=endpoint.key)
            stack.callback(client.close)
            askers[TEACHER_SERVICE] = teacher_asker(client, config, cache, stop)
        name = endpoint.name if endpoint else ""
        yield OpenDesk(askers, teacher=config, endpoint=name, book=recipe.book), stop


def teacher_asker(
    client: ChatClient, config: TeacherConfig, cache: ReplyCache, stop: threading.Event
) -> ServiceClient:
    """The teacher behind its pace, its tries and its cap, to which what is kept counts."""
    used = [used_by(reply) for reply in cache.replies(TEACHER_SERVICE)]
    prices = Prices(config.input_price, config.output_price, config.max_price, config.max_tokens)
    limits = (config.requests_per_minute or inf, config.tokens_per_minute or inf)
    return ServiceClient(
        Service(
            TEACHER_SERVICE,
            client.call,
            max_parallel=config.max_parallel,
            max_tries=config.max_tries,
        ),
        cache,
        stop=stop,
        pace=Pace(requests_per_minute=limits[0], tokens_per_minute=limits[1]),
        meter=Meter(prices, used=sum(used, Usage()), num_answers=len(used)),
        most=most_of,
        used=used_by,
    )
