"""Bad rows in the raw file, through the whole verb: a few are left out, many stop it."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from tests.faults.harness import ROOT, Held, Runs, examples_by_step
from trainers.storage.checkpoints import damage, list_checkpoints
from trainers.storage.json_files import read_json, read_jsonl

Tell = Callable[[Held], None]
NUM_ROWS, NUM_HELD_OUT = 100, 4
LIST = '["a"]'
BAD = {17: '{"id": "s0', 42: LIST, 96: '{"id": "x", "question": "¿Qué?"}'}  # by line number
# Two epochs of two steps.
SHORT = ("num_train_epochs=2", "train_batch_size=48", "max_steps=4", "save_strategy=epoch")


def test_3_bad_rows_in_100(runs: Runs, tell: Tell) -> None:
    file = write_rows(runs.output_dir / "few.jsonl", BAD)
    driver = runs.finish("few", f"train_file={file}", *SHORT)
    record = read_json(driver.run_dir / "run.json")
    assert (record["status"], record["exit_code"]) == ("finished", 0)
    listed = read_jsonl(Path(record["prepared_dir"]) / "bad_rows.jsonl")
    assert [(row["file"], row["line"]) for row in listed] == [(str(file), n) for n in BAD]
    output = driver.output()
    assert "3 of 100 rows are bad" in output and "few.jsonl:17 not JSON" in output
    trained = examples_by_step(driver.run_dir)
    assert list(trained) == [1, 2, 3, 4]
    wanted = dict.fromkeys(train_ids(file, but=BAD), 1)
    assert len(wanted) == NUM_ROWS - NUM_HELD_OUT - 3
    for first in (1, 3):
        assert Counter(trained[first] + trained[first + 1]) == wanted
    newest = list_checkpoints(driver.run_dir / "checkpoints")[0]
    assert (newest.step, damage(newest.path)) == (4, None)
    tell(Held(redone=0, attempts=1))


def test_40_bad_rows_in_100(runs: Runs, tell: Tell) -> None:
    file = write_rows(runs.output_dir / "many.jsonl", dict.fromkeys(range(11, 51), LIST))
    driver = runs.finish("many-bad", f"train_file={file}", *SHORT, code=2)
    [fault] = [line for line in driver.output().splitlines() if line.startswith("error: ")]
    assert "data.max_bad_rows: 40 of 100 rows are bad, limit 5 %: " in fault
    assert "many.jsonl:11 " in fault and "set data.max_bad_rows=0.4 to leave them out" in fault
    assert "Traceback" not in driver.output()
    assert not driver.run_dir.exists(), "nothing was trained"
    [kept] = (runs.output_dir / "prepared").glob("bad_rows-*.jsonl")
    assert str(kept) in fault
    assert [row["line"] for row in read_jsonl(kept)] == list(range(11, 51))
    tell(Held(redone=0, attempts=0))


def write_rows(path: Path, bad: dict[int, str]) -> Path:
    """Ninety-six rows to train on and four held out; lines with the numbers of `bad` are its."""
    source = ROOT / "datasets_src/shipped/senderos/text2sql.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines()
    train = [line for line in lines if json.loads(line)["split"] == "train"]
    held_out = [line for line in lines if json.loads(line)["split"] != "train"]
    rows = train[: NUM_ROWS - NUM_HELD_OUT] + held_out[:NUM_HELD_OUT]
    reported = [bad.get(number, line) for number, line in enumerate(rows, start=1)]
    path.write_text("".join(f"{line}\n" for line in reported), encoding="utf-8")
    return path


def train_ids(path: Path, *, but: Collection[int]) -> list[str]:
    """Ids of the rows to train on, those of some lines left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for n, line in enumerate(lines, start=1) if n not in but]
    return [row["id"] for row in rows if row["split"] == "train"]
