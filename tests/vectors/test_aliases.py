"""Aliases stand wherever a name of a collection does, switch at once, and share no name with a collection."""

import threading
import uuid

import pytest

from vectors import collections


@pytest.fixture
def alias(client):
    """A name for an alias, which is taken away at the end."""
    name = f"alias-{uuid.uuid4().hex[:10]}"
    yield name
    client.delete(f"aliases/{name}")


def put(client, alias, collection, status=200):
    answer = client.call("PUT", f"aliases/{alias}", {"collection": collection})
    assert answer.status == status, answer
    return answer.json


def upsert(client, name, point_id):
    body = {"points": [{"id": point_id, "vector": [1, 0, 0]}]}
    assert client.post(f"collections/{name}/points", body).json["upserted"] == 1


def nearest(client, name):
    answer = client.post(f"collections/{name}/query", {"vector": [1, 0, 0], "top_k": 1})
    return [match["id"] for match in answer.json["matches"]]


def test_made_shown_switched_and_taken_away(client, collection, alias):
    first, second = collection(), collection()
    made = put(client, alias, first)
    assert made["alias"] == alias
    assert made["collection"] == first
    assert made["created_at"].endswith("Z")
    assert client.get(f"aliases/{alias}").json == made
    assert client.get(f"collections/{first}").json["aliases"] == [alias]
    switched = put(client, alias, client.get(f"collections/{second}").json["id"])
    assert switched["collection"] == second
    assert switched["created_at"] == made["created_at"]
    assert switched["updated_at"] > made["updated_at"]
    assert client.get(f"collections/{first}").json["aliases"] == []
    assert client.get(f"collections/{alias}").json["name"] == second
    assert client.delete(f"aliases/{alias}").status == 204
    for answer in (client.get(f"aliases/{alias}"), client.delete(f"aliases/{alias}")):
        assert (answer.status, answer.json["code"]) == (404, "unknown_alias")
    assert client.get(f"collections/{alias}").json["code"] == "unknown_collection"
    assert client.get(f"collections/{second}").json["aliases"] == []


def test_listed_in_pages(client, collection):
    name = collection()
    names = sorted(f"page-{uuid.uuid4().hex[:8]}" for _ in range(5))
    for one in names:
        put(client, one, name)
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"aliases?limit=2&cursor={cursor}").json
        seen += [item["alias"] for item in page["items"] if item["collection"] == name]
        cursor = page["next_cursor"]
    assert seen == names == client.get(f"collections/{name}").json["aliases"]


def test_stands_for_the_collection_in_every_call(client, collection, alias, runner):
    name = collection()
    put(client, alias, name)
    upsert(client, alias, "a")
    path = f"collections/{alias}"
    assert nearest(client, alias) == nearest(client, name) == ["a"]
    assert client.post(f"{path}/fetch", {"ids": ["a"]}).json["points"][0]["id"] == "a"
    assert client.post(f"{path}/count").json == {"count": 1}
    assert client.post(f"{path}/update", {"ids": ["a"], "content": "x"}).json["updated"] == 1
    assert client.get(f"{path}/namespaces").json["items"] == [{"name": "", "points": 1}]
    assert client.get(f"{path}/stats").json["namespaces"] == [{"name": "", "points": 1}]
    assert client.patch(path, {"auto_index": False}).json["index"]["auto"] is False
    assert client.get(f"collections/{name}").json["index"]["auto"] is False
    assert client.post(f"{path}/index").json["collection"] == name
    runner()
    assert client.get(f"{path}/index").json["state"] == "ready"
    assert client.post(f"{path}/delete", {"ids": ["a"]}).json == {"deleted": 1}
    other = f"{alias}-2"
    assert put(client, other, alias)["collection"] == name
    put(client, alias, name)
    assert client.delete(path).status == 204
    for gone in (name, alias, other):
        assert client.get(f"collections/{gone}").status == 404
    assert client.get(f"aliases/{other}").status == 404


def test_a_switch_is_seen_at_once_and_by_other_processes_within_a_second(client, collection, alias, pool):
    old, new = collection(), collection()
    upsert(client, old, "old")
    upsert(client, new, "new")
    put(client, alias, old)
    assert nearest(client, alias) == ["old"]
    put(client, alias, new)
    assert nearest(client, alias) == ["new"]
    # As another process does it: behind this one's back.
    with pool.connection() as connection:
        connection.db.execute(
            "UPDATE vectors_alias SET collection_id = (SELECT id FROM vectors_collection WHERE name = %s)"
            " WHERE name = %s",
            [old, alias],
        )
    assert collections.CACHE_SECONDS <= 1
    collections._cache[alias].fresh_until = 0
    assert nearest(client, alias) == ["old"]


def test_a_collection_deleted_and_made_anew(client, collection, alias):
    name = collection()
    put(client, alias, name)
    upsert(client, alias, "a")
    assert nearest(client, alias) == ["a"]
    kept = collections.collection_get(alias)
    assert client.delete(f"collections/{name}").status == 204
    # A process that remembers the alias finds its table gone, and then that the alias went with it.
    collections._cache[alias] = kept
    assert client.post(f"collections/{alias}/query", {"vector": [1, 0, 0]}).status == 404
    assert client.post("collections", {"name": name, "dimension": 3}).status == 201
    assert client.get(f"aliases/{alias}").status == 404
    put(client, alias, name)
    collections._cache[alias] = kept
    upsert(client, alias, "b")
    assert nearest(client, name) == ["b"]


def test_names(client, collection, alias):
    name = collection()
    for bad in ("-x", "col_x", "a%20b", "x" * 101):
        assert put(client, bad, name, 422)["code"] == "invalid_name"
    assert put(client, alias, "no-such", 404)["code"] == "unknown_collection"
    assert put(client, alias, "a\0b", 404)["code"] == "unknown_collection"
    assert put(client, name, name, 409)["code"] == "exists"
    put(client, alias, name)
    taken = client.post("collections", {"name": alias, "dimension": 2})
    assert (taken.status, taken.json["code"]) == (409, "exists")
    assert client.call("PUT", f"aliases/{alias}", {}).status == 422
    for method in ("GET", "DELETE"):
        assert client.call(method, "aliases/a%00b").status == 404


def test_an_alias_and_a_collection_race_for_a_name(client, collection):
    target = collection()
    for _ in range(15):
        name = f"race-{uuid.uuid4().hex[:8]}"
        statuses = {}
        start = threading.Barrier(2)

        def run(kind, call, start=start, statuses=statuses):
            start.wait()
            statuses[kind] = call().status

        calls = {
            "alias": lambda name=name: client.call("PUT", f"aliases/{name}", {"collection": target}),
            "collection": lambda name=name: client.post("collections", {"name": name, "dimension": 2}),
        }
        threads = [threading.Thread(target=run, args=item) for item in calls.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        try:
            assert (statuses["alias"], statuses["collection"]) in ((200, 409), (409, 201))
        finally:
            client.delete(f"aliases/{name}")
            client.delete(f"collections/{name}")


def test_a_collection_goes_while_aliases_are_put_on_it(client):
    """Whatever the order: no alias is left behind, and nobody is told of a defect."""
    for _ in range(10):
        name = f"going-{uuid.uuid4().hex[:8]}"
        assert client.post("collections", {"name": name, "dimension": 2}).status == 201
        statuses = []

        def switch(at, name=name, statuses=statuses):
            answer = client.call("PUT", f"aliases/{name}-{at}", {"collection": name})
            statuses.append(answer.status)

        threads = [threading.Thread(target=switch, args=(at,)) for at in range(3)]
        for thread in threads:
            thread.start()
        deleted = client.delete(f"collections/{name}").status
        for thread in threads:
            thread.join()
        assert deleted == 204
        assert set(statuses) <= {200, 404}
        left = [item["alias"] for item in client.get("aliases?limit=200").json["items"]]
        assert not [one for one in left if one.startswith(name)]


def test_qdrants_calls(client, collection, alias):
    first, second = collection(), collection()
    path = "/qdrant/collections/aliases"

    def change(*actions, status=200):
        answer = client.post(path, {"actions": list(actions)})
        assert answer.status == status, answer
        return answer.json

    def create(target, name=alias):
        return {"create_alias": {"collection_name": target, "alias_name": name}}

    drop = {"delete_alias": {"alias_name": alias}}
    assert change(create(first))["result"] is True
    assert change(drop, create(second))["result"] is True
    pair = {"alias_name": alias, "collection_name": second}
    assert pair in client.get("/qdrant/aliases").json["result"]["aliases"]
    assert client.get(f"/qdrant/collections/{second}/aliases").json["result"] == {"aliases": [pair]}
    assert client.get(f"/qdrant/collections/{first}/aliases").json["result"] == {"aliases": []}
    # One that is wrong undoes those before it.
    change(create(first), create("no-such", f"{alias}-x"), status=404)
    assert client.get(f"aliases/{alias}").json["collection"] == second
    renamed = f"{alias}-new"
    rename = {"rename_alias": {"old_alias_name": alias, "new_alias_name": renamed}}
    change(rename)
    change(rename, status=404)
    assert client.get(f"aliases/{renamed}").json["collection"] == second
    assert client.call("DELETE", f"/qdrant/collections/{renamed}").json["result"] is False
    change({"delete_alias": {"alias_name": renamed}}, {"delete_alias": {"alias_name": "no\0such"}})
    change({"rename_alias": {"old_alias_name": "no\0such", "new_alias_name": alias}}, status=404)
    assert client.get(f"aliases/{renamed}").status == 404
    change({}, status=400)
    change(create(first) | drop, status=400)
    change(status=400)
