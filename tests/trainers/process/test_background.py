"""A call in a background thread: its end, its exception, and a process that does not wait."""

import subprocess
import sys
import threading

from trainers.process.background import Background

HANGS = """
import threading
from trainers.background import Background
Background(threading.Event().wait).wait(0.1)
print("ends")
"""


def test_it_is_waited_for_and_tells_what_it_raised() -> None:
    go_on = threading.Event()

    def call() -> None:
        go_on.wait()
        raise SystemExit(3)

    background = Background(call)
    assert not background.wait(0.05) and background.error is None
    go_on.set()
    assert background.wait(10) and isinstance(background.error, SystemExit)
    fine = Background(lambda: 1)
    assert fine.wait(10) and fine.error is None


def test_a_call_without_end_keeps_no_process_from_ending() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "ends\n" and done.stderr == ""
