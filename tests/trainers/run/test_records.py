"""The line files of an attempt: one row a step, whoever was killed or is still about."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trainers.run.records import NAMES, open_records
from trainers.storage.json_files import read_jsonl, write_jsonl


def steps(path: Path) -> list[int | None]:
    return [row["step"] for row in read_jsonl(path)]


def test_rows_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    with open_records(tmp_path, ledger="ledger/a-rank0.jsonl", rank=0, after=0) as records:
        for step in range(1, 9):
            records.append("metrics", {"step": step, "by": "a"})
            records.append("ledger", {"step": step, "by": "a"})
        records.append("checkpoints", {"step": 5})
        records.append("scores", {"step": None, "name": "base"})
        records.append("scores", {"step": 5, "name": "step-000005"})
        records.append("scores", {"step": 8, "name": "step-000008"})
        records.sync()
    with open_records(tmp_path, ledger="ledger/b-rank0.jsonl", rank=0, after=5) as records:
        assert steps(tmp_path / "metrics.jsonl") == [1, 2, 3, 4, 5]
        assert steps(tmp_path / "checkpoints.jsonl") == [5]
        assert steps(tmp_path / "scores.jsonl") == [None, 5], "the base stays scored"
        records.append("metrics", {"step": 6, "by": "b"})
    rows = list(read_jsonl(tmp_path / "metrics.jsonl"))
    assert [(row["step"], row["by"]) for row in rows[4:]] == [(5, "a"), (6, "b")]
    assert steps(tmp_path / "ledger" / "a-rank0.jsonl") == list(range(1, 9)), "what really was done"
    assert steps(tmp_path / "ledger" / "b-rank0.jsonl") == []


def test_a_late_writer_of_a_dead_attempt_adds_nothing(tmp_path: Path) -> None:
    with open_records(tmp_path, ledger="ledger/a-rank0.jsonl", rank=0, after=0) as late:
        late.append("metrics", {"step": 1, "by": "a"})
        with open_records(tmp_path, ledger="ledger/b-rank0.jsonl", rank=0, after=0) as records:
            late.append("metrics", {"step": 2, "by": "a"})
            late.append("scores", {"step": 2, "by": "a"})
            late.append("ledger", {"step": 2, "by": "a"})
            records.append("metrics", {"step": 1, "by": "b"})
            late.append("metrics", {"step": 3, "by": "a"})
    assert list(read_jsonl(tmp_path / "metrics.jsonl")) == [{"step": 1, "by": "b"}]
    assert list(read_jsonl(tmp_path / "scores.jsonl")) == []
    assert steps(tmp_path / "ledger" / "a-rank0.jsonl") == [2]


def test_a_torn_last_line_is_no_row_and_spoils_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    with open_records(tmp_path, ledger="ledger/b-rank0.jsonl", rank=0, after=9) as records:
        records.append("metrics", {"step": 3})
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_other_ranks_have_a_ledger_alone(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 7}])
    with open_records(tmp_path, ledger="ledger/b-rank1.jsonl", rank=1, after=0) as records:
        records.append("ledger", {"step": 1, "rank": 1})
    assert steps(tmp_path / "metrics.jsonl") == [7], "only rank 0 cuts the files off"
    assert list(read_jsonl(tmp_path / "ledger" / "b-rank1.jsonl")) == [{"step": 1, "rank": 1}]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ledger", "metrics.jsonl"]


def test_a_row_is_there_at_once(tmp_path: Path) -> None:
    with open_records(tmp_path, ledger="ledger/b-rank0.jsonl", rank=0, after=0) as records:
        for name in NAMES:
            records.append(name, {"step": 1, "text": "¿Qué?"})
            assert list(read_jsonl(tmp_path / f"{name}.jsonl")) == [{"step": 1, "text": "¿Qué?"}]


@given(attempts=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8)), max_size=6))
def test_one_row_a_step_after_any_restarts(attempts: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = 0
        for number, (back, num_steps) in enumerate(attempts):
            start = max(0, done - back)
            with open_records(
                Path(folder), ledger=f"ledger/a{number}-rank0.jsonl", rank=0, after=start
            ) as records:
                for step in range(start + 1, start + num_steps + 1):
                    records.append("metrics", {"step": step})
            done = start + num_steps
        assert steps(Path(folder) / "metrics.jsonl") == list(range(1, done + 1))
