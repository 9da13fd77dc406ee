"""The items of a recipe, many at a time, their rows in the order of the items.

for made in make_all(kind, items, material, desk=desk, num_threads=16, stop=stop): ...

What stops the build (a cap, a service that is down, ctrl-C) lets the calls under way end and be
kept, since they are paid for, and starts no other.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from tqdm import tqdm

from datasets_src.recipes.contract import Dropped, Item, NoAnswer, Row, TeacherSession
from datasets_src.recipes.teacher.pace import Stopping

WINDOW = 8  # items that wait to be written, for each thread

Made = list[Row | Dropped]


def make_all(
    kind: ModuleType,
    items: Sequence[Item | Dropped],
    material: Any,
    *,
    desk: TeacherSession,
    num_threads: int,
    stop: threading.Event,
    usage: Callable[[], str] = lambda: "",
) -> Iterator[Made]:
    """What each item gives, in order. `usage` is shown next to the progress bar."""
    waiting: deque[Future[Made]] = deque()
    hidden = not sys.stderr.isatty()
    bar = tqdm(total=len(items), unit="item", desc="build", disable=hidden)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="build")
    at_a_fault = ExitStack()
    at_a_fault.callback(stop.set)

    def next_made() -> Made:
        made = waiting.popleft().result()
        bar.set_postfix_str(usage(), refresh=False)
        bar.update()
        return made

    try:
        for item in items:
            waiting.append(pool.submit(_make, kind, item, material, desk, stop))
            if len(waiting) >= WINDOW * num_threads:
                yield next_made()
        while waiting:
            yield next_made()
        at_a_fault.pop_all()
    except Stopping:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        _raise_reason(waiting)
        raise
    finally:
        at_a_fault.close()
        bar.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _raise_reason(waiting: deque[Future[Made]]) -> None:
    """Raise the error of another item, which made this one stop."""
    for future in waiting:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, Stopping):
            raise error


def _make(
    kind: ModuleType,
    item: Item | Dropped,
    material: Any,
    desk: TeacherSession,
    stop: threading.Event,
) -> Made:
    if isinstance(item, Dropped):
        return [item]
    with ExitStack() as at_a_fault:
        at_a_fault.callback(stop.set)  # at once, not when the turn of this item comes
        made: Made
        try:
            made = list(kind.make(item, material, desk=desk))
        except NoAnswer as error:
            made = [Dropped(item.id, error.reason, error.detail, is_bad=True)]
        at_a_fault.pop_all()
        return made
