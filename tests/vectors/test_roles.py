"""Who may call what: every route by every role, and every way credentials can be wrong."""

import datetime
import time

import jwt
import pytest

from tests.vectors.conftest import JWT_KEY, Client, token
from vectors.endpoints import ROUTES

RANKS = {None: -1, "viewer": 0, "operator": 1, "admin": 2}
CASES = [
    ("/".join(path).replace("{}", "no-such"), method, route)
    for path, methods in ROUTES.items()
    for method, route in methods.items()
]


@pytest.mark.parametrize("role", RANKS)
@pytest.mark.parametrize(("path", "method", "route"), CASES, ids=lambda value: getattr(value, "name", None))
def test_matrix(client, path, method, route, role):
    answer = client.as_role(role).call(method, path, raw=b"{")
    if role is None:
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    elif RANKS[role] < RANKS[route.role]:
        assert answer.status == 403
    else:
        assert answer.status not in (401, 403), answer


def test_the_matrix_is_as_documented():
    roles = {route.name: route.role for methods in ROUTES.values() for route in methods.values()}
    assert {name for name, role in roles.items() if role == "admin"} == {
        "keys_list",
        "keys_create",
        "keys_update",
        "keys_delete",
    }
    assert {name for name, role in roles.items() if role == "operator"} == {
        *("simple_add", "simple_delete", "collections_create", "collections_update", "collections_delete"),
        *("index_build", "index_delete", "upsert", "delete", "update", "namespaces_delete"),
        *("jobs_cancel", "recall_measure", "slow_queries_list", "aliases_put", "aliases_delete"),
        *("uploads_create", "uploads_write", "uploads_delete", "import", "export_start"),
    }


def unsigned(claims):
    return jwt.encode(claims, None, algorithm="none")


GOOD = {"sub": "s", "role": "admin", "exp": 4_000_000_000}


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer é.é.é",
        "Bearer " + "a" * 5000,
        "Bearer avk_nonesuch",
        "Bearer " + token(key="another-key-another-key-another-key"),
        "Bearer " + token(exp=time.time() - 1),
        "Bearer " + token(nbf=time.time() + 10_000, exp=time.time() + 20_000),
        "Bearer " + token(role="root"),
        "Bearer " + unsigned(GOOD),
        "Bearer " + jwt.encode(GOOD, JWT_KEY, algorithm="HS512"),
        "Bearer " + jwt.encode({"sub": "s", "role": "admin"}, JWT_KEY, algorithm="HS256"),
        "Bearer " + jwt.encode({"role": "admin", "exp": 4_000_000_000}, JWT_KEY, algorithm="HS256"),
        "Bearer " + token()[:-2],
        "Bearer " + token() + "AA",
    ],
)
def test_bad_credentials(application, authorization):
    for _ in range(2):
        answer = Client(application, None).get("collections", headers={"Authorization": authorization})
        assert answer.status == 401, answer
        assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_key_no_jwt_is_taken(pool, settings):
    from vectors.wsgi import Application

    settings.VECTORS = settings.VECTORS | {"jwt_secret_key": ""}
    plain = token()
    answer = Client(Application(), None).get("collections", headers={"Authorization": f"Bearer {plain}"})
    assert answer.status == 401


def test_expiry_ends_a_remembered_token(application):
    bearer = {"Authorization": f"Bearer {token(exp=time.time() + 0.4)}"}
    client = Client(application, None)
    assert client.get("collections", headers=bearer).status == 200
    time.sleep(0.5)
    assert client.get("collections", headers=bearer).status == 401


def test_keys(client, pool):
    made = client.post("api-keys", {"name": "ci", "role": "operator"})
    assert made.status == 201
    key = made.json["key"]
    listed = [item for item in client.get("api-keys").json["items"] if item["id"] == made.json["id"]]
    assert listed == [{k: v for k, v in made.json.items() if k != "key"}]
    with pool.connection() as connection:
        rows = connection.db.execute("SELECT t::text FROM vectors_api_key t").fetchall()
    assert not any(key in row[0] for row in rows)
    anyone = client.as_role(None)
    for headers in ({"Authorization": f"Bearer {key}"}, {"Api-Key": key}):
        assert anyone.get("collections", headers=headers).status == 200
        assert anyone.get("api-keys", headers=headers).status == 403
    assert client.delete(f"api-keys/{made.json['id']}").status == 204
    assert anyone.get("collections", headers={"Api-Key": key}).status == 401
    assert client.delete(f"api-keys/{made.json['id']}").status == 404


def test_a_token_that_was_passed_on_in_a_header_of_its_own(client):
    anyone, operator = client.as_role(None), token("operator")
    for path in ("collections", "pinecone/indexes"):
        assert anyone.get(path, headers={"X-Aindus-Token": operator}).status == 200
        assert anyone.get(path, headers={"X-Aindus-Token": "wrong"}).status == 401
        assert anyone.get(path, headers={"X-Aindus-Token": ""}).status == 401
        # What was sent for us to read is not outdone by what a relay may have been told to pass on.
        both = {"Authorization": "Bearer wrong", "X-Aindus-Token": operator}
        assert anyone.get(path, headers=both).status == 401
    assert anyone.get("api-keys", headers={"X-Aindus-Token": operator}).status == 403
    # A call that Django serves, and that changes something.
    body = {"name": "relayed", "dimension": 2, "metric": "cosine", "spec": {"serverless": {}}}
    made = anyone.post("pinecone/indexes", body, headers={"X-Aindus-Token": operator})
    assert made.status == 201, made
    assert anyone.delete("pinecone/indexes/relayed", headers={"X-Aindus-Token": operator}).status == 202


def test_keys_expire(client):
    now = datetime.datetime.now(datetime.UTC)
    past = client.post("api-keys", {"name": "x", "expires_at": (now - datetime.timedelta(1)).isoformat()})
    assert past.status == 422
    soon = (now + datetime.timedelta(seconds=0.5)).isoformat()
    made = client.post("api-keys", {"name": "x", "expires_at": soon}).json
    anyone = client.as_role(None)
    assert anyone.get("collections", headers={"Api-Key": made["key"]}).status == 200
    time.sleep(0.6)
    assert anyone.get("collections", headers={"Api-Key": made["key"]}).status == 401


def test_probes_need_no_credentials(application):
    for path in ("/health", "/ready", "/metrics"):
        assert Client(application, None).get(path).status == 200
