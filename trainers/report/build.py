"""report.html of a run directory: one file, nothing loaded from anywhere.

    write_report(Path("runs/demo"))        -> runs/demo/report.html

Works at any moment of a run: the page says what is not there yet.
"""

from pathlib import Path

from trainers.report.page import render
from trainers.report.records import read_records
from trainers.storage.json_files import write_text


def write_report(run_dir: Path) -> Path:
    """Write `<run_dir>/report.html` atomically from the records in `run_dir`; its path."""
    assert run_dir.is_dir(), run_dir
    path = run_dir / "report.html"
    write_text(path, render(read_records(run_dir)))
    return path
