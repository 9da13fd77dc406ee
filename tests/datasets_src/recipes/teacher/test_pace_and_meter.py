"""Limits of speed hold over all threads, and a cap is never passed."""

import threading
import time
from collections.abc import Callable

import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.teacher.meter import Meter, Prices, Usage
from datasets_src.recipes.teacher.pace import Pace, Stopping


def run_all(num: int, target: Callable[[], None]) -> None:
    threads = [threading.Thread(target=target) for _ in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sent_at(pace: Pace, *, num: int, tokens: int = 0) -> list[float]:
    started, times = time.monotonic(), []

    def send() -> None:
        pace.wait(tokens, threading.Event())
        times.append(time.monotonic() - started)

    run_all(num, send)
    return sorted(times)


def test_requests_are_spread_over_all_threads() -> None:
    times = sent_at(Pace(requests_per_minute=1200), num=10)  # one in 50 ms
    # None before its turn; how much later it wakes is the machine's matter.
    assert all(at > 0.05 * number - 0.01 for number, at in enumerate(times))


def test_tokens_are_spread_and_settled() -> None:
    pace = Pace(tokens_per_minute=60_000)  # a thousand a second
    assert sent_at(pace, num=5, tokens=100)[-1] > 0.38
    pace = Pace(tokens_per_minute=60_000)
    pace.wait(10_000, threading.Event())
    pace.settle(10_000, 100)
    assert sent_at(pace, num=1)[0] < 5  # of ten that were not used


def test_a_pause_holds_those_that_wait_already() -> None:
    pace = Pace(requests_per_minute=1200)
    pace.wait(0, threading.Event())
    threading.Timer(0.02, pace.pause, (0.3,)).start()
    assert sent_at(pace, num=3)[0] > 0.29


def test_who_waits_is_told_to_stop() -> None:
    pace, stop = Pace(requests_per_minute=1), threading.Event()
    pace.wait(0, stop)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopping):
        pace.wait(0, stop)


def test_the_cap_is_never_passed_by_calls_at_the_same_time() -> None:
    meter = Meter(Prices(input_price=1.0, output_price=2.0, max_price=0.001))
    refused: list[str] = []

    def call() -> None:
        try:
            with meter.reserve(Usage(100, 100)) as use:  # at most 0.0003
                time.sleep(0.01)
                use(Usage(100, 50))  # 0.0002
        except UserError as error:
            refused.append(str(error))

    run_all(12, call)
    # After the fourth 0.0008 are used, and a fifth might take it to 0.0011.
    assert meter.num_answers == 4
    assert meter.used == Usage(400, 200)
    assert len(refused) == 8
    assert "teacher.max_price: the cap of 0.001 is reached: 0.0008 used by 4 answers" in refused[0]
    assert "max_price=0.002" in refused[0]


def test_a_call_that_fails_gives_its_reservation_back() -> None:
    meter = Meter(Prices(max_tokens=250))
    with pytest.raises(ValueError, match="cut"), meter.reserve(Usage(100, 100)):
        raise ValueError("cut")
    with meter.reserve(Usage(100, 100)) as use:
        use(Usage(10, 10))
    assert str(meter) == "1 answer, 20 tokens"
    with pytest.raises(UserError, match=r"max_tokens=500"), meter.reserve(Usage(200, 100)):
        raise AssertionError("refused before the block")


def test_what_earlier_starts_used_counts() -> None:
    meter = Meter(Prices(max_tokens=100), used=Usage(60, 30), num_answers=7)
    with pytest.raises(UserError, match="90 used by 7 answers"), meter.reserve(Usage(11, 0)):
        raise AssertionError("refused before the block")
