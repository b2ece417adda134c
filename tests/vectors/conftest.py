"""A database of this run with the vectors app migrated, and clients of the vector API."""

import base64
import io
import json
import os
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path

import jwt
import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parents[2]
JWT_KEY = "the-key-of-the-tests-" + "x" * 64


def server_url() -> str:
    from controlplane import embedded

    given = os.environ.get("DATABASE_URL")
    return given or embedded.Layout(Path(os.environ["AINDUS_DATA_DIR"])).database_url


def api_environment(url: str, **more: str) -> dict[str, str]:
    """The environment of a process in role `api` on a database."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AINDUS_", "DATABASE_", "REDIS_"))
    }
    return environment | {
        "AINDUS_ROLE": "api",
        "AINDUS_DATA_DIR": "/nonexistent",
        "DATABASE_URL": url,
        "JWT_SECRET_KEY": JWT_KEY,
        "DJANGO_SETTINGS_MODULE": "controlplane.settings",
        **more,
    }


def migrate(url: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "vectors", "-v0"],
        cwd=ROOT,
        env=api_environment(url),
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="session")
def vectors_url():
    """A migrated database, dropped at the end."""
    name = f"vectors_test_{uuid.uuid4().hex[:12]}"
    server = make_conninfo(server_url(), dbname="postgres")
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    url = make_conninfo(server_url(), dbname=name)
    migrate(url)
    yield url
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def pool(vectors_url):
    """The process's pool, on that database."""
    from vectors import auth, collections, database

    made = database.Pool(vectors_url)
    database.use(made)
    auth.forget()
    collections.collection_forget()
    yield made
    made.close()
    database.use(None)


class Answer:
    """An answer: status, headers (lower-case names), body, and the body's JSON."""

    def __init__(self, status: int, headers: dict, body: bytes):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return orjson.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def token(role: str = "admin", key: str = JWT_KEY, **claims) -> str:
    return jwt.encode(
        {"sub": "test", "role": role, "exp": time.time() + 600} | claims, key, algorithm="HS256"
    )


class Client:
    """Calls a WSGI application in this process."""

    prefix = "/api/v1/vectors"

    def __init__(self, application, role: str | None = "admin"):
        self.application = application
        self.headers = {"Authorization": f"Bearer {token(role)}"} if role else {}

    def call(self, method: str, path: str, body=None, headers: dict | None = None, raw: bytes | None = None):
        data = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path if path.startswith("/") else f"{self.prefix}/{path}".rstrip("/"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(data)),
            "CONTENT_TYPE": "application/json",
            "SERVER_NAME": "test",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(data),
        }
        for name, value in (self.headers | (headers or {})).items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        seen = {}

        def start_response(status, headers, exc_info=None):
            seen["status"], seen["headers"] = int(status[:3]), {k.lower(): v for k, v in headers}

        parts = self.application(environ, start_response)
        return Answer(seen["status"], seen["headers"], b"".join(parts))

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body, **more)

    def patch(self, path, body=None, **more):
        return self.call("PATCH", path, body, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)

    def as_role(self, role: str | None) -> "Client":
        return Client(self.application, role)


@pytest.fixture
def application(pool, settings, role_api):
    from vectors.wsgi import Application

    settings.VECTORS = settings.VECTORS | {"jwt_secret_key": JWT_KEY, "max_body_bytes": 4 * 2**20}
    return Application()


@pytest.fixture
def role_api(settings):
    """What Django serves beside the vector API, as in role `api`."""
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "vectors.urls_api"
    settings.VECTORS_AUTHENTICATE = ""


@pytest.fixture
def client(application):
    return Client(application)


@pytest.fixture
def collection(client):
    """A function that makes a collection and gives its name; all are deleted at the end."""
    made = []

    def make(dimension: int = 3, metric: str = "cosine", **more) -> str:
        name = f"c-{uuid.uuid4().hex[:10]}"
        answer = client.post("collections", {"name": name, "dimension": dimension, "metric": metric, **more})
        assert answer.status == 201, answer
        made.append(name)
        return name

    yield make
    for name in made:
        client.delete(f"collections/{name}")


def b64(values) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@pytest.fixture
def runner(vectors_url):
    """A runner that does what is queued when told so: runner()."""
    from vectors.runner import Runner

    def run(**options):
        made = Runner(vectors_url, **options)
        with made.connect() as db:
            while made.run_pending(db):
                pass
        return made

    return run
