"""The manifest: any changed byte is detected, its own bytes included."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.storage.manifest import MANIFEST, DamageError, Manifest, seal, verify


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed directory; a test that changes a file restores it."""
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "weights.bin").write_bytes(bytes(range(150)))
    (folder / "state.json").write_text('{"step": 3}')
    seal(folder, step=3, attempt="a")
    return folder


def fault(folder: Path, *, use_known: bool = False) -> str | None:
    try:
        assert verify(folder, use_known=use_known) == Manifest(3, "a")
    except DamageError as error:
        return str(error)
    return None


@given(
    name=st.sampled_from(["weights.bin", "state.json", MANIFEST]),
    where=st.floats(0, 0.9999),
    change=st.sampled_from(["flip", "delete", "insert"]),
    value=st.integers(1, 255),
)
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_caught(
    sealed: Path, name: str, where: float, change: str, value: int
) -> None:
    file = sealed / name
    written = file.read_bytes()
    changed, at = bytearray(written), int(where * len(written))
    if change == "flip":
        changed[at] ^= value
    elif change == "delete":
        del changed[at]
    else:
        changed.insert(at, value)
    file.write_bytes(changed)
    found = [fault(sealed), fault(sealed, use_known=True)]
    file.write_bytes(written)
    assert found[0] is not None and found[0] == found[1]
    assert ("manifest" if name == MANIFEST else name) in found[0]
    assert fault(sealed) is None


def test_every_bit_of_the_manifest_counts(sealed: Path) -> None:
    file = sealed / MANIFEST
    written = file.read_bytes()
    unnoticed = []
    for at in range(len(written)):
        for bit in range(8):
            changed = bytearray(written)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            if fault(sealed) is None:
                unnoticed.append((at, bit))
    file.write_bytes(written)
    assert unnoticed == [] and fault(sealed) is None
