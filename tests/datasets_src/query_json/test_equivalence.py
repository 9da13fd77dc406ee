"""Equivalence tables: edges are followed to their end; cycles and ambiguous names are errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.query_json.equivalence import NEVER, Table, open_table
from datasets_src.text.folding import fold

IMPULSE = Path(__file__).resolve().parents[3] / "../shared/data/impulse"
HEADER = "name\tcanonical\n"


def write(folder: Path, content: str | dict[str, Any]) -> str:
    path = folder / ("t.tsv" if isinstance(content, str) else "t.json")
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return str(path)


def table(folder: Path, content: str | dict[str, Any], *, allow_ambiguous: bool = False) -> Table:
    return open_table(write(folder, content), key="places_file", allow_ambiguous=allow_ambiguous)


def fault(folder: Path, content: str | dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        table(folder, content)
    [line] = caught.value.faults
    assert line.startswith(f"data.task_options.places_file: {folder}/t.") and "\n" not in line
    return line


def test_a_tsv_folds_names_and_follows_edges(tmp_path: Path) -> None:
    places = table(
        tmp_path,
        f"# comment\n\n{HEADER}Lérida\tlleida\tprovince\nLleida\tLleida\nIlerda\tLérida\r\n",
    )
    assert places.key("  LERIDA ") == places.key("Lleida") == places.key("ilerda")
    assert places.key("Girona") == places.key("GIRÓNA") != places.key("Lleida")
    assert places.key(None) is None
    assert places.key(["Lleida"]) is places.key(7) is NEVER


def test_a_json_of_names_under_their_canonical_name(tmp_path: Path) -> None:
    names = table(tmp_path, {"Institut Gavina": ["INGAV"], "Centre Garbí": []})
    assert names.key("ingav") == names.key("institut gavina") != names.key("centre garbi")


def test_names_that_list_themselves_and_each_other_are_one(tmp_path: Path) -> None:
    pairs = [("a", "A"), ("a", "B"), ("b", "B"), ("b", "A"), ("b", "C"), ("c", "C"), ("c", "B")]
    one = table(tmp_path, HEADER + "".join(f"{n}\t{t}\n" for n, t in [*pairs, ("x", "c")]))
    assert len({one.key(name) for name in "abcx"}) == 1


@pytest.mark.parametrize(
    "lines", ["a\tb\nb\ta\n", "a\tb\nb\tc\nc\ta\n", "a\tb\nb\ta\na\ta\n", "z\ta\na\tb\nb\ta\n"]
)
def test_a_cycle_is_an_error(lines: str, tmp_path: Path) -> None:
    line = fault(tmp_path, HEADER + lines)
    assert "'a' -> 'b'" in line or "'b' -> 'a'" in line or "'c' -> 'a'" in line
    assert "is a cycle" in line and "remove the line" in line


def test_a_long_chain_is_followed(tmp_path: Path) -> None:
    chain = table(tmp_path, HEADER + "".join(f"n{i}\tn{i + 1}\n" for i in range(5000)))
    assert chain.key("n0") == chain.key("n5000") == "n5000"


def test_an_ambiguous_name_is_an_error_or_its_own_class(tmp_path: Path) -> None:
    two = {"Hospital Clar": ["HC"], "Hotel Clar": ["hc"]}
    line = fault(tmp_path, two)
    assert "1 name is in more than one class: 'HC' (Hospital Clar, Hotel Clar)" in line
    assert line.endswith("task_options: {ambiguous_names: apart}")
    own_class = table(tmp_path, two, allow_ambiguous=True)
    assert len({own_class.key(name) for name in ("HC", "Hospital Clar", "Hotel Clar")}) == 3
    assert own_class.key("Hc") == own_class.key("hc")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no names"),
        (HEADER, "has no names"),
        (HEADER + "lerida\n", ":2: 'lerida' is not two columns"),
        (HEADER + "lerida\t \n", "is not two columns"),
        ({"a": "b"}, "'a' has 'b', not a list of names"),
        ({"a": [1]}, "'a' has [1], not a list of names"),
    ],
)
def test_a_malformed_table_is_an_error(
    content: str | dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert says in fault(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "a list, not an object"),
        ('{"a": []', "not JSON"),
        ('{"a": [], "a": ["b"]}', "duplicate key"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_malformed_json_table_is_an_error(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    for name in (path, tmp_path / "nowhere.json"):
        with pytest.raises(UserError) as caught:
            open_table(str(name), key="places_file", allow_ambiguous=False)
        assert (says if name == path else "cannot be read (No such file") in str(caught.value)


@pytest.mark.skipif(not IMPULSE.is_dir(), reason=f"IMPULSE's tables are not in {IMPULSE}")
def test_impulse_tables() -> None:
    def read(name: str, *, allow_ambiguous: bool) -> Table:
        return open_table(str(IMPULSE / name), key="k", allow_ambiguous=allow_ambiguous)

    programmes = read("framework_mappings.tsv", allow_ambiguous=False)
    assert programmes.key("Horizon 2020") == programmes.key("h2020") != programmes.key("AEI")
    places = read("geographic_mappings.tsv", allow_ambiguous=False)
    assert places.key("Cataluña") == places.key("Catalonia") != places.key("Barcelona")
    with pytest.raises(UserError, match=r"49 names are in more than one class.*and 44 more"):
        read("ror_mappings.json", allow_ambiguous=False)
    names = read("ror_mappings.json", allow_ambiguous=True)
    assert (
        names.key("UB")
        == names.key("Universitat de Barcelona")
        == names.key("University of Barcelona")
    )
    mapped = json.loads((IMPULSE / "ror_mappings.json").read_text("utf-8"))["mappings"]
    assert len(mapped) == 4939 and all(fold(name) in names.classes for name in mapped)
    assert names.key("IREC") != names.key("Institut de Recerca en Energia de Catalunya")
    with pytest.raises(UserError, match="1 name is in more than one class: 'hospital'"):
        read("organization_type_mappings.tsv", allow_ambiguous=False)
    types = read("organization_type_mappings.tsv", allow_ambiguous=True)
    assert types.key("universitat") == types.key("university") == types.key("Higher education")
    kinds = ("university", "company", "research_center", "hospital", "ngo", "public_entity")
    assert len({types.key(kind) for kind in kinds}) == 6
