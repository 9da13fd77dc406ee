"""A background call: its end, its exception, and a process that exits without it."""

import subprocess
import sys
import threading

from trainers.process.background import Background

HANGS = """
import threading
from trainers.process.background import Background
Background(threading.Event().wait).wait(0.1)
print("ends")
"""


def test_wait_returns_at_the_end_and_keeps_the_exception() -> None:
    proceed = threading.Event()

    def call() -> None:
        proceed.wait()
        raise SystemExit(3)

    background = Background(call)
    assert not background.wait(0.05) and background.error is None
    proceed.set()
    assert background.wait(60) and isinstance(background.error, SystemExit)
    succeeded = Background(lambda: 1)
    assert succeeded.wait(60) and succeeded.error is None


def test_an_endless_call_does_not_keep_the_process_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout == "ends\n" and done.stderr == ""
