"""Run a kind's `make` on all items with a thread pool; rows come out in the order of the items.

for made in make_all(kind, items, material, session=session, num_threads=16, stop=stop): ...

When the build stops (a cap, a service that is down, Ctrl-C), no new call starts; calls in flight
finish and their replies are cached, since they are paid for.
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
from datasets_src.recipes.teacher.rate_limiter import BuildStopped

WINDOW = 8  # items in flight or waiting for their turn, per thread

Made = list[Row | Dropped]


def make_all(
    kind: ModuleType,
    items: Sequence[Item | Dropped],
    material: Any,
    *,
    session: TeacherSession,
    num_threads: int,
    stop: threading.Event,
    usage: Callable[[], str] = lambda: "",
) -> Iterator[Made]:
    """Yield the rows of each item, in order. `usage` is shown next to the progress bar."""
    waiting: deque[Future[Made]] = deque()
    hidden = not sys.stderr.isatty()
    bar = tqdm(total=len(items), unit="item", desc="build", disable=hidden)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="build")
    on_error = ExitStack()
    on_error.callback(stop.set)

    def next_made() -> Made:
        made = waiting.popleft().result()
        bar.set_postfix_str(usage(), refresh=False)
        bar.update()
        return made

    try:
        for item in items:
            waiting.append(pool.submit(_make, kind, item, material, session, stop))
            if len(waiting) >= WINDOW * num_threads:
                yield next_made()
        while waiting:
            yield next_made()
        on_error.pop_all()
    except BuildStopped:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        _raise_reason(waiting)
        raise
    finally:
        on_error.close()
        bar.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _raise_reason(waiting: deque[Future[Made]]) -> None:
    """Raise the error of the item that stopped the build, if there is one."""
    for future in waiting:
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, BuildStopped):
            raise error


def _make(
    kind: ModuleType,
    item: Item | Dropped,
    material: Any,
    session: TeacherSession,
    stop: threading.Event,
) -> Made:
    if isinstance(item, Dropped):
        return [item]
    with ExitStack() as on_error:
        on_error.callback(stop.set)  # now, not when this item is due
        made: Made
        try:
            made = list(kind.make(item, material, session=session))
        except NoAnswer as error:
            made = [Dropped(item.id, error.reason, error.detail, is_bad=True)]
        on_error.pop_all()
        return made
