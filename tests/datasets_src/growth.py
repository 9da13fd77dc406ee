"""How the CPU time of a function grows with its input, independent of the machine's speed.

assert growth(lambda num: find_dois("doi:" * num), 16_000) < LINEAR
"""

import time
from collections.abc import Callable

FACTOR = 16
# Linear code grows by FACTOR and quadratic code by FACTOR**2; the bound is their geometric mean.
LINEAR = FACTOR**1.5
NUM_RUNS = 5
# Times below this are noise: timer resolution, page faults.
MIN_S = 2e-4


def growth(run: Callable[[int], object], size: int) -> float:
    """CPU time of `run(size)` over that of `run(size // FACTOR)`, each the best of NUM_RUNS.

    Other processes do not count towards CPU time, and a slow machine slows both sizes alike.
    """
    run(1)  # fills caches
    return _best_s(run, size) / max(_best_s(run, size // FACTOR), MIN_S)


def _best_s(run: Callable[[int], object], size: int) -> float:
    times_s = []
    for _ in range(NUM_RUNS):
        started = time.process_time()
        run(size)
        times_s.append(time.process_time() - started)
        if times_s[-1] > 1:  # long enough to be exact
            break
    return min(times_s)
