"""Declared fields: the same answers as without, faster; made at once or by a job; never in a write's way."""

import datetime
import json
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.errors import ConflictError
from tests.vectors.test_filters import FILTERS, METADATA, NUMBERS, SCALARS, TEXTS
from vectors import clauses, collections, fields
from vectors.compat import qdrant_filters

TYPES = ("keyword", "number", "boolean", "datetime")
MOMENTS = st.sampled_from(
    [
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2023-12-31T23:30:00-14:00",
        "2024-01-02T10:00:00+14:00",
        "2024-01-01 00:00:00+00",
        " 2024-01-01",
        "2024-1-1",
        "2024-13-45",
        "2024-01-01x",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
    ]
)
# Numbers that JSON writes and a float8 does not hold, and texts longer than a key.
RAW_NUMBERS = st.sampled_from(
    ["1e400", "-1e400", "1e-400", "9" * 3000, "0." + "1" * 3000, "1e300", "-1e-300"]
)
LONG = st.sampled_from(["a" * 64, "a" * 65, "a" * 64 + "b", chr(0x10FFFF), chr(0x10FFFF) * 2])
ONE_FIELD = st.recursive(
    SCALARS | MOMENTS | LONG,
    lambda inner: st.lists(inner, max_size=3) | st.fixed_dictionaries({"b": inner}),
    max_leaves=4,
)
ASKED = st.one_of(
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), TEXTS | NUMBERS | MOMENTS | LONG).map(
        lambda pair: dict([pair])
    ),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: {"$gte": pair[0], "$lt": pair[1]}),
    st.tuples(TEXTS | MOMENTS, TEXTS | MOMENTS).map(lambda pair: {"$gt": pair[0], "$lte": pair[1]}),
    st.lists(SCALARS | LONG, max_size=3).map(lambda items: {"$in": items}),
    SCALARS | LONG,
)


@pytest.fixture
def evaluated(pool):
    """A function: which documents meet a clause as it is, and narrowed by declared fields."""

    def run(clause, declared, documents):
        found = fields.narrowing(clause.needs, declared)
        conditions = [clause.sql(2), found.sql(2) if found is not None else ("true", [])]
        with pool.connection() as connection:
            answers = []
            for condition, parameters in conditions:
                result = connection.run(
                    f"SELECT coalesce({condition}, false) FROM unnest($1::jsonb[]) WITH ORDINALITY"
                    " AS x (metadata, n) ORDER BY n",
                    [clauses.text_array(documents), *parameters],
                    prepare=False,
                )
                answers.append([result.get_value(row, 0) == b"\1" for row in range(result.ntuples)])
        return answers

    return run


def declared(**types):
    return {name: fields.declared(name, type) for name, type in types.items()}


def check(meets, may):
    """Every document that meets the clause meets the condition on the declared fields."""
    assert all(wide for exact, wide in zip(meets, may, strict=True) if exact)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(filter=FILTERS, documents=st.lists(METADATA, min_size=1, max_size=12), data=st.data())
def test_any_filter_on_any_metadata(evaluated, filter, documents, data):
    types = data.draw(
        st.fixed_dictionaries({name: st.sampled_from(TYPES) for name in ("a", "b", "å", "a.b")})
    )
    check(*evaluated(clauses.clause_of(filter), declared(**types), [json.dumps(one) for one in documents]))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    asked=st.lists(ASKED, min_size=1, max_size=2),
    values=st.lists(ONE_FIELD.map(json.dumps) | RAW_NUMBERS, min_size=1, max_size=12),
    type=st.sampled_from(TYPES),
    name=st.sampled_from(["a", "a.b", "a.0"]),
)
def test_ranges_and_equalities_of_one_field(evaluated, asked, values, type, name):
    documents = [f'{{"a": {value}}}' for value in values] + [f'{{"a": [{{"0": {values[0]}}}]}}']
    for operator in ("$and", "$or"):
        filter = {operator: [{name: one} for one in asked]}
        check(*evaluated(clauses.clause_of(filter), {name: fields.declared(name, type)}, documents))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    low=st.none() | st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)),
    high=st.none() | st.sampled_from([datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, 12)]),
    values=st.lists(MOMENTS | st.lists(MOMENTS, max_size=2), min_size=1, max_size=12),
)
def test_ranges_of_times_as_qdrant_asks_for_them(evaluated, low, high, values):
    limits = {"gte": low and f"{low.isoformat()}Z", "lt": high and f"{high.isoformat()}Z"}
    clause = qdrant_filters.compile({"must": [{"key": "at", "range": limits}]})
    documents = [json.dumps({"at": value}) for value in values]
    narrowed = fields.narrowing(clause.needs, declared(at="datetime"))
    assert (narrowed is not None) is (low is not None or high is not None)
    check(*evaluated(clause, declared(at="datetime"), documents))


def test_qdrants_conditions_are_narrowed_by_their_fields(evaluated):
    documents = [json.dumps({"n": value, "match": 1, "t": "x"}) for value in (1, 2, 3, [1, 9])]
    given = {
        "must": [{"key": "n", "range": {"gte": 2, "lt": 9}}, {"key": "t", "match": {"any": ["x", "y"]}}],
        "should": [{"key": "n", "match": {"value": 3}}, {"key": "n", "range": {"gt": 8}}],
        "must_not": [{"key": "n", "match": {"value": 1}}],
    }
    clause = qdrant_filters.compile(given)
    meets, may = evaluated(clause, declared(n="number", t="keyword", match="keyword"), documents)
    assert meets == [False, False, True, False]
    assert may == [False, False, True, True]


def test_the_keys_are_as_narrow_as_they_can_be(evaluated):
    documents = [json.dumps({"n": value}) for value in (1, 2, 3, "2", None, [9], {"x": 2})] + ["{}"]
    clause = clauses.clause_of({"n": {"$gte": 2, "$lt": 3}})
    meets, may = evaluated(clause, declared(n="number"), documents)
    assert meets == [False, True, False, False, False, False, False, False]
    # The upper bound is taken in, and a list may hold anything.
    assert may == [False, True, True, False, False, True, False, False]
    assert fields.narrowing(clause.needs, declared(n="keyword")) is None
    negative = clauses.clause_of({"n": {"$ne": 2}, "$not": {"n": 1}})
    assert fields.narrowing(negative.needs, declared(n="number")) is None


ROWS = [
    {
        "year": 2000 + at % 30,
        "tag": f"t{at % 7}",
        "ok": at % 50 == 0,
        "at": f"2024-01-{at % 28 + 1:02d}T00:00:00Z",
    }
    for at in range(400)
] + [
    {"year": "2001", "tag": ["t1", "x"], "ok": None},
    {"year": [1990, 2029.5], "tag": [["t2"]], "ok": [True]},
    {"year": None, "tag": 3, "at": "yesterday"},
    {"year": {"from": 2000}, "tag": None},
    {},
]
FIELDS = [
    {"name": "at", "type": "datetime"},
    {"name": "ok", "type": "boolean"},
    {"name": "tag", "type": "keyword"},
    {"name": "year", "type": "number"},
]
ASKED_OF_ROWS = [
    {"year": {"$gte": 2010, "$lt": 2012}},
    {"year": {"$gt": 2028}},
    {"year": 2001},
    {"year": {"$in": [1990, "2001"]}},
    {"tag": "t1"},
    {"tag": {"$gte": "t5"}},
    {"ok": True},
    {"at": {"$gte": "2024-01-27"}},
    {"$or": [{"year": 2005}, {"ok": True}]},
    {"year": {"$lte": 2000}, "tag": {"$in": ["t1", "t2"]}},
    {"$not": {"year": {"$lt": 2029}}},
    {"year": {"$ne": 2000}, "tag": "t2"},
]


def load(client, name, rows):
    points = [{"id": f"{at:05d}", "vector": [at, 1, 1], "metadata": row} for at, row in enumerate(rows)]
    assert client.post(f"collections/{name}/points", {"points": points}).status == 200


def answers(client, name):
    """What every kind of reading says to every filter."""
    path = f"collections/{name}"
    found = []
    for filter in ASKED_OF_ROWS:
        query = {"vector": [1, 1, 1], "top_k": 500, "filter": filter}
        grouped = client.post(
            f"{path}/query", query | {"group_by": "tag", "group_size": 3, "exact": True}
        ).json
        found.append(
            (
                [match["id"] for match in client.post(f"{path}/query", query).json["matches"]],
                client.post(f"{path}/count", {"filter": filter}).json["count"],
                [point["id"] for point in client.post(f"{path}/scroll", {"filter": filter}).json["points"]],
                [
                    (group["value"], [match["id"] for match in group["matches"]])
                    for group in grouped["groups"]
                ],
            )
        )
    return found


@pytest.fixture
def narrowing(monkeypatch):
    """Small collections are treated as large ones: what is declared is used whenever it can be."""
    from vectors import search

    monkeypatch.setattr(search, "SAMPLE_ROWS", 0)
    monkeypatch.setattr(fields, "NARROWED_SHARE_MOST", 1.0)


def test_answers_are_the_same_declared_and_undeclared(client, collection, narrowing):
    plain, fielded = collection(metric="l2"), collection(metric="l2", fields=FIELDS)
    for name in (plain, fielded):
        load(client, name, ROWS)
        assert client.get(f"collections/{name}").json["points"] == len(ROWS)
    expected = answers(client, plain)
    assert all(any(part) for part in expected)
    assert answers(client, fielded) == expected
    # Declared later, and not any more.
    shown = client.patch(f"collections/{plain}", {"fields": FIELDS}).json["fields"]
    assert shown == [one | {"indexed": True} for one in FIELDS]
    assert answers(client, plain) == expected
    assert client.patch(f"collections/{plain}", {"fields": []}).json["fields"] == []
    assert answers(client, plain) == expected


def test_writes_by_filter_go_through_the_index_too(client, collection, narrowing):
    name = collection(metric="l2", fields=FIELDS)
    load(client, name, ROWS)
    path = f"collections/{name}"
    changed = client.post(f"{path}/update", {"filter": {"year": {"$gt": 2028}}, "metadata": {"late": 1}})
    assert changed.json["updated"] == sum(1 for row in ROWS if row.get("year") == 2029) + 1
    gone = client.post(f"{path}/delete", {"filter": {"late": 1, "year": {"$gte": 2029}}})
    assert gone.json["deleted"] == changed.json["updated"]
    assert client.post(f"{path}/count", {"filter": {"late": 1}}).json == {"count": 0}


def test_a_range_reads_its_index_and_not_the_table(client, collection, pool):
    name = collection(metric="l2", fields=[{"name": "n", "type": "number"}])
    rows = [{"n": at} for at in range(3000)]
    load(client, name, rows)
    found = collections.collection_load(name)
    clause = clauses.clause_of({"n": {"$gte": 100, "$lt": 103}})
    condition, parameters = fields.narrowed(clause, clause.needs, found.declared, 0.0).sql(1)
    with pool.connection() as connection:
        connection.simple(f"ANALYZE {found.table}")
        result = connection.run(
            f"EXPLAIN SELECT id FROM {found.table} WHERE {condition}", parameters, prepare=False
        )
        plan = "\n".join(result.get_value(row, 0).decode() for row in range(result.ntuples))
    assert found.declared["n"].index_name(found.id) in plan
    assert "Seq Scan" not in plan
    answer = client.post(
        f"collections/{name}/query", {"vector": [0, 1, 1], "top_k": 10, "filter": {"n": {"$gte": 2990}}}
    ).json
    assert [match["id"] for match in answer["matches"]] == [f"{at:05d}" for at in range(2990, 3000)]


def test_no_metadata_is_refused_for_an_index(client, collection):
    name = collection(fields=[*FIELDS, {"name": "deep.er", "type": "number"}])
    awkward = ["1e400", "-1e400", "1e-400", "9" * 3000, json.dumps("x" * 9000), "[[1,2],[3]]", "null", "{}"]
    for value in awkward:
        metadata = ", ".join(f'"{key}": {value}' for key in ("year", "tag", "ok", "at"))
        point = f'{{"id": "p", "vector": [1, 0, 0], "metadata": {{{metadata}, "deep": {{"er": {value}}}}}}}'
        answer = client.post(f"collections/{name}/points", raw=f'{{"points": [{point}]}}'.encode())
        assert answer.status == 200, (value[:50], answer)


def test_a_large_table_has_its_indexes_made_by_a_job(client, collection, runner, monkeypatch):
    from vectors import declarations

    monkeypatch.setattr(declarations, "AT_ONCE_BYTES_MOST", 0)
    name = collection()
    load(client, name, ROWS)
    path = f"collections/{name}"
    shown = client.patch(path, {"fields": FIELDS[:2]}).json
    assert [one["indexed"] for one in shown["fields"]] == [False, False]
    jobs = [job for job in client.get("jobs").json["items"] if job["collection"] == name]
    assert [(job["kind"], job["state"]) for job in jobs] == [("index.declare", "queued")]
    busy = client.patch(path, {"fields": FIELDS})
    assert (busy.status, busy.json["code"]) == (409, "building")
    assert client.get(path).json["fields"] == shown["fields"]
    before = answers(client, name)
    runner()
    assert all(one["indexed"] for one in client.get(path).json["fields"])
    assert client.get(f"jobs/{jobs[0]['id']}").json["result"]["made"] == 2
    # One goes, one stays, two come, of which one changes its type.
    changed = [FIELDS[0] | {"type": "keyword"}, FIELDS[1], FIELDS[3]]
    client.patch(path, {"fields": changed})
    runner()
    result = client.get("jobs?limit=1").json["items"][0]["result"]
    assert (result["made"], result["dropped"]) == (2, 1)
    assert answers(client, name) == before


def test_a_job_that_died_half_way_is_done_anew(client, collection, runner, pool, monkeypatch):
    from vectors import declarations

    monkeypatch.setattr(declarations, "AT_ONCE_BYTES_MOST", 0)
    name = collection()
    load(client, name, ROWS)
    client.patch(f"collections/{name}", {"fields": FIELDS})
    found = collections.collection_load(name)
    half = fields.declared("year", "number").index_name(found.id)
    # A build that fails leaves its index behind, half made.
    with pytest.raises(ConflictError), pool.connection() as connection:
        connection.db.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {half} ON {found.table} (namespace)")
    runner()
    assert all(one["indexed"] for one in client.get(f"collections/{name}").json["fields"])
    with pool.connection() as connection:
        made = connection.db.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = %s", [half]
        ).fetchone()
    assert "jsonb_typeof" in made[0]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ([{"name": "a", "type": "text"}], "fields[0].type"),
        ([{"name": "", "type": "number"}], "fields[0].name"),
        ([{"name": "a..b", "type": "number"}], "fields[0].name"),
        ([{"name": "$a", "type": "number"}], "fields[0].name"),
        ([{"name": "a\0", "type": "number"}], "fields[0].name"),
        ([{"name": "a" * 513, "type": "number"}], "fields[0].name"),
        ([{"name": "a", "type": "number"}, {"name": "a", "type": "keyword"}], "fields[1].name"),
        ([{"name": f"f{at}", "type": "number"} for at in range(65)], "fields"),
        ([{"type": "number"}], "fields[0]"),
        ("a", "fields"),
    ],
)
def test_what_cannot_be_declared(client, collection, given, field):
    refused = client.post(
        "collections", {"name": f"no-{uuid.uuid4().hex[:8]}", "dimension": 2, "fields": given}
    )
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, field), refused
    name = collection()
    refused = client.patch(f"collections/{name}", {"fields": given, "auto_index": False})
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, field), refused
    assert client.get(f"collections/{name}").json["index"]["auto"] is True


def test_names_of_every_kind(client, collection):
    names = ['"', "\\", "'", "a b", "å", "日本", "x.0", "0", "%s", "{}", "$1"[1:], "\U0001f600"]
    name = collection(fields=[{"name": one, "type": "number"} for one in names])
    assert {one["name"] for one in client.get(f"collections/{name}").json["fields"]} == set(names)
    metadata = {one: 5 for one in names if "." not in one} | {"x": {"0": 5}}
    client.post(
        f"collections/{name}/points", {"points": [{"id": "a", "vector": [1, 0, 0], "metadata": metadata}]}
    )
    for one in names:
        assert client.post(f"collections/{name}/count", {"filter": {one: {"$gt": 4}}}).json == {"count": 1}


def test_qdrants_payload_indexes(client, collection):
    name = collection(fields=[{"name": "kept", "type": "boolean"}])
    path = f"/qdrant/collections/{name}"
    for field, schema in (("n", "integer"), ("when", {"type": "datetime"}), ("list[].x", "keyword")):
        made = client.call("PUT", f"{path}/index", {"field_name": field, "field_schema": schema})
        assert made.json["result"]["status"] == "completed", made
    shown = client.get(path).json["result"]["payload_schema"]
    assert {field: one["data_type"] for field, one in shown.items()} == {
        **{"kept": "bool", "n": "integer", "when": "datetime", "list[].x": "keyword"}
    }
    assert client.get(f"collections/{name}").json["fields"] == [
        {"name": "kept", "type": "boolean", "indexed": True},
        {"name": "n", "type": "number", "indexed": True},
        {"name": "when", "type": "datetime", "indexed": True},
    ]
    for field in ("n", "list[].x", "no-such"):
        assert client.call("DELETE", f"{path}/index/{field}").status == 200
    assert set(client.get(path).json["result"]["payload_schema"]) == {"kept", "when"}
    assert [one["name"] for one in client.get(f"collections/{name}").json["fields"]] == ["kept", "when"]
