"""The filter language against a plain evaluator, over every kind of metadata."""

import json
import re

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.vectors.model import matches
from vectors import clauses, filters, lists
from vectors.compat import qdrant_filters

# Alike to the eye, apart by code point: composed and decomposed, ligatures, cases, beyond the first plane,
# of which UTF-16 would order differently, and what JSON, SQL or a path would have to escape.
TEXTS = st.sampled_from(
    [
        *(
            "",
            "a",
            "b",
            "Z",
            "1",
            "1.0",
            "true",
            "null",
            " a",
            "a ",
            "å",
            "a\u030a",
            "日本",
            "ﬀ",
            "ff",
            "\u2028",
        ),
        *("\U0001f600", "\uffff", '"', "\\", "a'b", "$", "%s", "\n\t\x01", "\x7f", "$.a", "a" * 300),
    ]
) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3)
# Where floats end, begin, and stop telling integers apart; as integers and as floats of the same value.
NUMBERS = st.sampled_from(
    [
        *(0, -0.0, 1, 1.0, -1, 3, 0.1, 0.1 + 0.2, 0.3, -2.5, 1e-300, 5e-324, 2.2250738585072014e-308),
        *(1.7976931348623157e308, -1.7976931348623157e308, 2**53 - 1, 2**53, 2**53 + 1, float(2**53)),
        *(2**63 - 1, 2**63, -(2**63), 2**64, float(2**63), 10**25, 1e25, 1e22, 10**22),
    ]
) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.one_of(st.none(), st.booleans(), TEXTS, NUMBERS)
KEYS = st.sampled_from(["a", "b", "c d", "å", '"', "$x", "0"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=5,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
PATHS = st.lists(KEYS.filter(lambda key: not key.startswith("$")), min_size=1, max_size=2).map(".".join)
ORDERED = TEXTS | NUMBERS
OPERATORS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(SCALARS, max_size=3)),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED),
    st.tuples(st.just("$exists"), st.booleans()),
)
CONDITIONS = st.one_of(
    SCALARS,
    st.lists(OPERATORS, min_size=1, max_size=2).map(dict),
    st.lists(OPERATORS, min_size=1, max_size=2).map(lambda items: {"$not": dict(items)}),
)
FILTERS = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(filter=FILTERS, documents=st.lists(METADATA, min_size=1, max_size=12))
@example(filter={"a": {"$ne": 1}}, documents=[{}, {"a": 1}, {"a": [1, 2]}, {"a": "1"}, {"a": None}])
@example(filter={"a.b": 1}, documents=[{"a": [{"b": 1}, 3]}, {"a": {"b": [1]}}, {"a": [[{"b": 1}]]}])
@example(filter={"a": {"$in": []}}, documents=[{"a": 1}])
@example(filter={"a.0": {"$in": [1]}}, documents=[{"a": [1]}, {"a": [{"0": 1}]}, {"a": {"0": 1}}])
@example(
    filter={"$and": [{"a": {"$nin": [1, None]}}, {"b": {"$in": ["x"]}}], "a": {"$exists": False}},
    documents=[{"b": "x"}, {"a": None, "b": "x"}, {"b": ["y", "x"]}, {"b": ["y"]}],
)
@example(
    filter={"a": {"$gt": -1}}, documents=[{"a": "x"}, {"a": 0}, {"a": [[5]]}, {"a": True}, {"a": [[[5]]]}]
)
@example(filter={"$not": {"a": 1, "b": {"$ne": 2}}}, documents=[{}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}])
def test_as_the_evaluator(indexed, filter, documents):
    """Evaluated row by row, and as the GIN index narrows the rows."""
    expected = [matches(filter, document) for document in documents]
    text = filters.compile(filter)
    with indexed.transaction(force_rollback=True):
        indexed.execute(
            "INSERT INTO indexed SELECT n, d FROM unnest(%s::jsonb[]) WITH ORDINALITY AS x (d, n)",
            [[json.dumps(document) for document in documents]],
        )
        rows = indexed.execute("SELECT d @@ %s::jsonpath FROM indexed ORDER BY n", [text]).fetchall()
        assert [row[0] for row in rows] == expected
        indexed.execute("SET LOCAL enable_seqscan = off")
        rows = indexed.execute("SELECT n FROM indexed WHERE d @@ %s::jsonpath ORDER BY n", [text]).fetchall()
        assert [row[0] for row in rows] == [at for at, meets in enumerate(expected, 1) if meets]
        condition, parameters = lists.looked_up(clauses.clause_of(filter), 1).sql(1)
        rows = psycopg.RawCursor(indexed).execute(
            f"SELECT n FROM (SELECT n, d AS metadata FROM indexed) x WHERE {condition} ORDER BY n",
            [parameter.decode() for parameter in parameters],
        )
    assert [row[0] for row in rows] == [at for at, meets in enumerate(expected, 1) if meets]


@pytest.mark.parametrize("nested", [False, True])
def test_negated_conjunctions_of_qdrant(indexed, nested):
    """What the GIN index reads out of a negation of several conditions must lose no row."""

    def match(key, value):
        return {"key": key, "match": {"value": value}}

    inner = {"must": [match("a", 1)], "must_not": [match("b", 2)]}
    documents = [{}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, {"a": 2}]
    given = {"must_not": [inner]}
    if nested:
        given = {"must": [{"nested": {"key": "x", "filter": given}}]}
        documents = [{"x": [document]} for document in documents]
    text, parameters = qdrant_filters.compile(given).sql(1)
    with indexed.transaction(force_rollback=True):
        indexed.execute(
            "INSERT INTO indexed SELECT n, d FROM unnest(%s::jsonb[]) WITH ORDINALITY AS x (d, n)",
            [[json.dumps(document) for document in documents]],
        )
        indexed.execute("SET LOCAL enable_seqscan = off")
        condition = re.sub(r"\$\d+", "%s", text.replace("metadata", "d"))
        found = indexed.execute(
            f"SELECT n FROM indexed WHERE {condition} ORDER BY n",
            [parameter.decode() for parameter in parameters],
        ).fetchall()
    assert [row[0] for row in found] == [1, 3, 4, 5]


@pytest.fixture
def indexed(vectors_url):
    """A connection with a table `indexed` (n, d) whose metadata has the index that collections have."""
    with psycopg.connect(vectors_url, autocommit=True) as db:
        db.execute("CREATE TEMPORARY TABLE indexed (n int, d jsonb)")
        db.execute("CREATE INDEX ON indexed USING gin (d jsonb_path_ops)")
        yield db


@pytest.mark.parametrize(
    ("filter", "narrowed"),
    [
        ({"a": 1}, True),
        ({"a": {"$in": [1, 2]}}, True),
        ({"a": {"$gt": 1}}, False),
        ({"a": {"$gt": 1}, "b": "x"}, True),
        ({"$and": [{"a": {"$gt": 1}}, {"b": 1}]}, True),
        ({"$or": [{"a": {"$gt": 1}}, {"b": 1}]}, False),
        ({"$or": [{"a": 2}, {"b": 1}]}, True),
        ({"$not": {"a": 1}}, False),
        ({"a": {"$ne": 1}}, False),
    ],
)
def test_which_filters_the_index_narrows(filter, narrowed):
    assert filters.indexed(filter) is narrowed
