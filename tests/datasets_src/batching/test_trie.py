"""The trie holds every distinct prefix once, depth first, for any rows and `min_share`."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_src.batching.trie import Node, shared_lengths, sort_rows, trie_nodes, trie_size

rows_of = st.lists(
    st.lists(st.integers(0, 2) | st.just(2**31 + 5), min_size=1, max_size=12),
    min_size=1,
    max_size=14,
)


def nodes_of(rows: list[list[int]], min_share: int) -> list[Node]:
    return list(trie_nodes([len(r) for r in rows], shared_lengths(rows), min_share=min_share))


def test_the_example_of_the_docstring() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 5, 6]]
    assert nodes_of(rows, 1) == [
        Node(0, 3, 0, 3),
        Node(0, 1, 3, 4),
        Node(1, 3, 3, 4),
        Node(2, 3, 4, 5),
    ]
    assert nodes_of(rows, 3) == [
        Node(0, 3, 0, 3),
        Node(0, 1, 3, 4),
        Node(1, 2, 3, 4),
        Node(2, 3, 3, 5),
    ]
    assert nodes_of(rows, 4) == [Node(0, 1, 0, 4), Node(1, 3, 0, 4), Node(2, 3, 4, 5)]


@settings(deadline=None)
@given(rows_of)
def test_rows_are_sorted_like_python_lists(rows: list[list[int]]) -> None:
    order = sort_rows(rows)
    assert [rows[i] for i in order] == sorted(rows)
    assert all(a < b for a, b in pairwise(order) if rows[a] == rows[b])


@settings(deadline=None)
@given(rows_of, st.integers(1, 9))
def test_each_row_is_the_concatenation_of_its_nodes(rows: list[list[int]], min_share: int) -> None:
    rows = sorted(rows)
    nodes = nodes_of(rows, min_share)
    for i, row in enumerate(rows):
        path = [node for node in nodes if node.first <= i < node.last]
        assert [n.start for n in path] == [0, *(n.end for n in path[:-1])], "a gap or wrong order"
        assert path[-1].end == len(row)
    for node in nodes:
        [tokens] = {tuple(row[node.start : node.end]) for row in rows[node.first : node.last]}
        assert tokens and (node.last - node.first == 1 or len(tokens) >= min_share)


@settings(deadline=None)
@given(rows_of)
def test_with_min_share_1_each_distinct_prefix_counts_once(rows: list[list[int]]) -> None:
    rows = sorted(rows)
    prefixes = {tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)}
    size = trie_size([len(r) for r in rows], shared_lengths(rows), min_share=1)
    assert size == len(prefixes)
