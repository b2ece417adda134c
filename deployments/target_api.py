"""The vector API of a target, called over HTTP from the control plane."""

import http.client
import json
import time
from contextlib import closing
from urllib.parse import quote, urlencode

import jwt

from controlplane.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ProblemError,
    TooLargeError,
    UnavailableError,
)
from deployments.models import Replica, ReplicaStatus, Target
from deployments.reaching import Way, connection_to, path_on, refusal, way_of, way_to_call

TOKEN_SECONDS = 60
TIMEOUT_SECONDS = 5.0
MOST_ANSWER_BYTES = 32 * 2**20
# Calls by POST that read alone, so that another replica may be asked.
READS = ("/query", "/count", "/fetch", "/scroll", "/recommend")
ERRORS = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    409: ConflictError,
    413: TooLargeError,
    415: InvalidError,
    422: InvalidError,
}


class TargetUnreachableError(UnavailableError):
    """No replica of this target answers."""

    code = "target_unreachable"


class NotPassedOnError(OSError):
    """The cluster answered in the replica's stead."""


class TargetApi:
    """Calls to the collections of one target, with a token that lives a minute.

    With `release` (an id) only replicas of that release are asked.
    """

    def __init__(self, target: Target, *, subject: str, role: str = "admin", release: str = ""):
        self.target = target
        self.subject = subject
        self.role = role
        self.release = release

    def _token(self) -> str:
        secret = self.target.secrets.get("jwt_secret", "")
        if not secret:
            raise TargetUnreachableError(
                f"{self.target.name} is not provisioned yet.", code="target_not_ready"
            )
        now = int(time.time())
        claims = {"sub": self.subject, "role": self.role, "iat": now, "exp": now + TOKEN_SECONDS}
        return jwt.encode(claims, secret, algorithm="HS256")

    def call(self, method: str, path: str, body=None, *, timeout: float = TIMEOUT_SECONDS, **query):
        """The parsed answer of the first ready replica that answers; `body` is JSON, or bytes as they are.

        A call that reads is tried on the next replica when one does not answer. The target's own problem
        is raised as ours, TargetUnreachableError when no replica answers.
        """
        ready = Replica.objects.filter(target=self.target, status=ReplicaStatus.READY)
        replicas = list((ready.filter(release=self.release) if self.release else ready).order_by("pk"))
        if not replicas:
            raise TargetUnreachableError(
                f"{self.target.name} has no replica that is ready. See its health for the reason."
            )
        token, headers = self._token(), {"Accept": "application/json"}
        content = None
        if isinstance(body, bytes):
            content = body
            headers["Content-Type"] = "application/octet-stream"
        elif body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        address = f"/api/v1/vectors/{path}" + (f"?{urlencode(query)}" if query else "")
        again = method == "GET" or path.endswith(READS)
        problem = ""
        for replica in replicas if again else replicas[:1]:
            try:
                # Of a certain release only its own pods will do.
                way = way_of(replica) if self.release else way_to_call(replica)
                return self._once(way, method, address, content, headers | way.headers_with(token), timeout)
            except (OSError, http.client.HTTPException) as error:
                where = replica.handle.get("pod") or f"{replica.host}:{replica.port}"
                problem = f"{where} does not answer ({type(error).__name__}: {error})."
        raise TargetUnreachableError(f"{self.target.name}: {problem}")

    def _once(self, way: Way, method, address, content, headers, timeout):
        if way.problem:
            raise NotPassedOnError(way.problem)
        with closing(connection_to(way, timeout)) as connection:
            connection.request(method, path_on(way, address), body=content, headers=headers)
            answer = connection.getresponse()
            data = answer.read(MOST_ANSWER_BYTES + 1)
        if way.relay and answer.status >= 400:
            told = refusal(answer.headers.get_content_type(), data)
            if told:
                raise NotPassedOnError(f"the cluster passes nothing on, {answer.status}: {told}")
        if len(data) > MOST_ANSWER_BYTES:
            raise TooLargeError(
                f"The answer has more than {MOST_ANSWER_BYTES >> 20} MiB: ask for fewer points, or without"
                " vectors."
            )
        if answer.status < 400:
            return json.loads(data) if data else {}
        raise problem_of(answer.status, data)

    def collections(self) -> list[dict]:
        """All collections with their figures."""
        found, cursor = [], ""
        while True:
            answer = self.call("GET", "collections", limit=200, **({"cursor": cursor} if cursor else {}))
            found += answer["items"]
            cursor = answer.get("next_cursor")
            if not cursor:
                return found

    def collection(self, name: str) -> dict:
        return self.call("GET", collection_path(name))

    def collection_create(self, body: dict) -> dict:
        return self.call("POST", "collections", body)

    def collection_delete(self, name: str) -> None:
        self.call("DELETE", collection_path(name), timeout=30)

    def index(self, name: str) -> dict:
        return self.call("GET", f"{collection_path(name)}/index")

    def index_build(self, name: str, body: dict) -> dict:
        return self.call("POST", f"{collection_path(name)}/index", body)

    def scroll(self, name: str, **body) -> dict:
        return self.call("POST", f"{collection_path(name)}/scroll", body)

    def query(self, name: str, body: dict) -> dict:
        return self.call("POST", f"{collection_path(name)}/query", body, timeout=15)


def collection_path(name: str) -> str:
    """The path of a collection below /api/v1/vectors/."""
    return f"collections/{path_part(name)}"


def path_part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def problem_of(status: int, data: bytes) -> ProblemError:
    """The target's problem+json as our own error; a body that is none gives its status."""
    try:
        body = json.loads(data)
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    kind = ERRORS.get(status, TargetUnreachableError)
    wait = body.get("retry_after")
    return kind(
        body.get("detail") or f"The target answered with status {status}.",
        code=body.get("code", ""),
        errors=body.get("errors") or [],
        retry_after_seconds=wait if isinstance(wait, int) else None,
    )
