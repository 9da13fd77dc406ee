"""Build a dataset from a recipe: check it, make the rows, check them, write.

built = build(recipe, Endpoint("https://…/v1", name="https://…/v1", key="sk-…"))
built.directory, built.record["num_rows"], built.usage    -> "312 answers, 401,120 tokens, 0.41"

Calling it again finds the finished dataset; after a kill it resumes from the cached replies.

Imports within this package go one way (tests/datasets_src/recipes/test_import_order.py):

    contract < teacher < services < sources < kinds < lengths < dependence < config < card
    < dataset < results < work < build

A kind is loaded by its name, so no module imports `kinds`; a kind sees `teacher` only through the
TeacherSession that `make` receives.
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
from datasets_src.recipes.teacher.cache import ReplyCache
from datasets_src.recipes.teacher.client import ChatClient, TeacherConfig, max_usage, reply_usage
from datasets_src.recipes.teacher.cost_meter import CostMeter, Prices, Usage
from datasets_src.recipes.teacher.prompts import PromptBook
from datasets_src.recipes.teacher.rate_limiter import RateLimiter
from datasets_src.recipes.teacher.service_client import ServiceClient
from datasets_src.recipes.teacher.session import (
    REWORD,
    REWORD_KEY,
    REWORD_RULES,
    TEACHER_SERVICE,
    BuildSession,
)
from datasets_src.recipes.work import make_all

REPLIES = ".replies"


@dataclass(frozen=True)
class Endpoint:
    """The teacher's address. `name` is part of the cache key of its replies."""

    base_url: str
    name: str
    key: str = ""


@dataclass(frozen=True)
class Built:
    """A finished dataset. `usage` is that of the teacher; "" if the dataset was found."""

    directory: Path
    record: Record
    usage: str
    is_new: bool


@dataclass(frozen=True)
class Recipe:
    """A recipe with checked prompts and options."""

    config: RecipeConfig
    kind: ModuleType
    options: Section
    book: PromptBook


def open_recipe(config: RecipeConfig) -> Recipe:
    """Check everything that needs no open file. UserError: all faults at once."""
    kind = load_kind(config.kind)
    options = kind_options(kind, config.options)
    rules, prompts = prompts_of(kind, options)
    book = PromptBook(rules | {REWORD_KEY: REWORD_RULES}, prompts | {REWORD_KEY: REWORD})
    return Recipe(config, kind, options, book)


def build(recipe: Recipe, endpoint: Endpoint | None) -> Built:
    """Build the dataset of a recipe, or find it finished.

    Raises:
        UserError: a fault of the recipe or its files, a cap reached, or rows that fail a check.
        ServiceDown: the teacher or a look-up service does not answer.
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
    with ReplyCache(replies) as cache, _open_session(recipe, endpoint, cache) as (session, stop):
        for made in make_all(
            kind,
            items,
            material,
            session=session,
            num_threads=config.num_threads,
            stop=stop,
            usage=session.usage,
        ):
            results.add(made)
        results.check_bad(len(items))
        report = kind.report(material) if hasattr(kind, "report") else {}
        results.prune(measure)
        results.check_dependence()
        record = results.record(recipe_hash=digest, teacher=session.teacher_record(), report=report)
        write_dataset(directory, results.rows, record=record, output=kind.OUTPUT)
        return Built(directory, record, session.usage(), is_new=True)


def _checked_items(kind: ModuleType, material: Any) -> Sequence[Item | Dropped]:
    items: list[Item | Dropped] = list(kind.items(material))
    if not items:
        raise UserError("options: 0 items in the recipe's files; check the files and the filters")
    repeated = [id for id, num in Counter(item.id for item in items).items() if num > 1]
    assert not repeated, f"repeated item ids: {repeated[:3]}"
    return items


@contextmanager
def _open_session(
    recipe: Recipe, endpoint: Endpoint | None, cache: ReplyCache
) -> Iterator[tuple[BuildSession, threading.Event]]:
    """The session of a build, and the event that stops every thread waiting in it."""
    stop, config = threading.Event(), recipe.config.teacher
    services = recipe.kind.services(recipe.options) if hasattr(recipe.kind, "services") else ()
    with ExitStack() as stack:
        clients = {service.name: ServiceClient(service, cache, stop=stop) for service in services}
        if config is not None and endpoint is not None:
            client = ChatClient(config, base_url=endpoint.base_url, key=endpoint.key)
            stack.callback(client.close)
            clients[TEACHER_SERVICE] = teacher_service_client(client, config, cache, stop)
        name = endpoint.name if endpoint else ""
        yield BuildSession(clients, teacher=config, endpoint=name, book=recipe.book), stop


def teacher_service_client(
    client: ChatClient, config: TeacherConfig, cache: ReplyCache, stop: threading.Event
) -> ServiceClient:
    """The teacher behind cache, limiter, retries and cap; cached replies count toward the cap."""
    used = [reply_usage(reply) for reply in cache.replies(TEACHER_SERVICE)]
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
        limiter=RateLimiter(requests_per_minute=limits[0], tokens_per_minute=limits[1]),
        meter=CostMeter(prices, used=sum(used, Usage()), num_answers=len(used)),
        max_usage=max_usage,
        reply_usage=reply_usage,
    )
