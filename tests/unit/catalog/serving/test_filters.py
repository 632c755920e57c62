import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.serving.filters import MAX_CHARS, parse_filter, query_to_cql2
from catalog.serving.guards import MAX_DEPTH, RequestError, depth


def test_text_and_json_of_one_filter_are_the_same_filter():
    stated = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 5]}
    assert parse_filter('"eo:cloud_cover" < 5') == parse_filter(json.dumps(stated)) == parse_filter(stated) == stated
    assert parse_filter(None) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a = ", "no CQL2 text"),
        ("x" * (MAX_CHARS + 1), "characters"),
        ("(" * 65 + "a=1" + ")" * 65, "deep"),
        ("f(" * 5000 + "a" + ")" * 5000 + "=1", "deep"),
        ("not " * 17 + "a=1", "NOT"),
        ("a = " + "-" * 4000 + "1", "NOT or signs"),
        ("a=1" + "=1" * 4000, "comparisons"),
        ("{", "no JSON"),
        ("{" * 100, "deep"),
        ("{}x", "no JSON"),
        ('{"a":' * 70 + "1" + "}" * 70, "deep"),
    ],
)
def test_filters_that_are_none_or_would_end_the_process_are_refused(text, word):
    with pytest.raises(RequestError, match=word):
        parse_filter(text)


def test_brackets_and_words_inside_of_texts_do_not_count():
    found = parse_filter("a = '" + "(" * 500 + " not " * 50 + "=" * 600 + "'")
    assert found == {"op": "=", "args": [{"property": "a"}, "(" * 500 + " not " * 50 + "=" * 600]}


def test_as_many_brackets_as_are_allowed_are_parsed():
    assert parse_filter("(" * MAX_DEPTH + "a=1" + ")" * MAX_DEPTH) == {"op": "=", "args": [{"property": "a"}, 1]}


@given(
    st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_depth_is_how_deep_the_parsed_document_nests(document):
    def nests(value):
        if isinstance(value, dict | list):
            return 1 + max(map(nests, value.values() if isinstance(value, dict) else value), default=0)
        return 0

    assert depth(json.dumps(document).encode()) == nests(document)


def test_the_query_extension_becomes_a_filter_whose_patterns_are_literal():
    assert query_to_cql2({"a": {"gte": 1, "neq": 3}, "properties.b": {"startsWith": "50%_"}}) == {
        "op": "and",
        "args": [
            {"op": ">=", "args": [{"property": "a"}, 1]},
            {"op": "<>", "args": [{"property": "a"}, 3]},
            {"op": "like", "args": [{"property": "b"}, "50\\%\\_%"]},
        ],
    }
    with pytest.raises(RequestError, match="about"):
        query_to_cql2({"a": {"about": 1}})
