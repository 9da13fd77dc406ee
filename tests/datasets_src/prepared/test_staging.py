"""Staging: a directory appears only when complete; storage faults are reported."""

from pathlib import Path

import pytest

from datasets_src.errors import UserError
from datasets_src.prepared.staging import FILES, check_space, find_complete, staged

DIGEST = "0123456789abcdef" * 4


def fill(part: Path, digest: str = DIGEST) -> None:
    for name in FILES:
        (part / name).write_text(f'{{"data_hash": "{digest}"}}', encoding="utf-8")


def test_a_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    with staged(tmp_path, DIGEST) as (part, final):
        fill(part)
        assert not final.exists() and find_complete(tmp_path, DIGEST) is None
    assert find_complete(tmp_path, DIGEST) == final == tmp_path / "prepared" / DIGEST[:16]
    assert find_complete(tmp_path, DIGEST[:16] + "f" * 48) is None
    (final / "train.parquet").unlink()
    assert find_complete(tmp_path, DIGEST) is None


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path, DIGEST) as (part, _):
        fill(part)
        raise ZeroDivisionError
    assert list((tmp_path / "prepared").iterdir()) == []


def test_the_first_to_finish_wins(tmp_path: Path) -> None:
    with staged(tmp_path, DIGEST) as (part, final):
        fill(part)
        final.mkdir()
        fill(final)
        (final / "mine").touch()
    assert (final / "mine").exists() and len(list(final.parent.iterdir())) == 1


def test_a_broken_directory_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "prepared" / DIGEST[:16]).mkdir(parents=True)
    (tmp_path / "prepared" / DIGEST[:16] / "train.parquet").touch()
    with (
        pytest.raises(UserError, match="exists but is incomplete; delete it and run again"),
        staged(tmp_path, DIGEST) as (part, _),
    ):
        fill(part)


def test_storage_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(
            UserError, match=r"output_dir: .*/file cannot be written \(Not a directory\)"
        ),
        staged(tmp_path / "file", DIGEST),
    ):
        pass


def test_storage_that_is_too_small(tmp_path: Path) -> None:
    check_space(tmp_path, 1000)
    with pytest.raises(UserError, match=r"MiB free, the tokenised rows may need 5,242,881 MiB"):
        check_space(tmp_path, 2**40)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"output_dir: .* is full \([\d,]+ MiB free\)"),
        staged(tmp_path, DIGEST) as (part, _),
    ):
        # A device that answers every write as a full disk does.
        (part / "train.parquet").symlink_to("/dev/full")
        (part / "train.parquet").write_bytes(b"x")
