"""A whole simulated cluster: the API server, its controllers, nodes and pods; and the tests' hold on it."""

import base64
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.simulators.kubernetes import customs, discovery, errors, openapi, reviews, seeds
from tests.simulators.kubernetes.access import Access, User
from tests.simulators.kubernetes.behaviours import Behaviours
from tests.simulators.kubernetes.certificates import Authority
from tests.simulators.kubernetes.controllers import Controllers
from tests.simulators.kubernetes.events import Recorder
from tests.simulators.kubernetes.faults import Faults
from tests.simulators.kubernetes.kubelet import Kubelet
from tests.simulators.kubernetes.loop import Loop
from tests.simulators.kubernetes.requests import Objects, take_apart
from tests.simulators.kubernetes.resources import Resources
from tests.simulators.kubernetes.schema import Schemas
from tests.simulators.kubernetes.server import Answer, Endpoint, Request
from tests.simulators.kubernetes.store import Store
from tests.simulators.kubernetes.subresources import Subresources
from tests.simulators.kubernetes.writing import Deletion, Writer


@dataclass(frozen=True)
class Logged:
    """A request that was answered: who, what, with which status."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    user: str
    user_agent: str
    body: bytes = b""


class Cluster:
    """A context manager. `crds` names the sets of custom resources that are installed (see `customs`).

    `speed` divides the delays of back-offs, probes and scripts. `nodes` are (name, cpu, memory, zone).
    """

    def __init__(
        self,
        version: str = "1.34",
        crds: Iterable[str] = (),
        *,
        speed: float = 1.0,
        nodes: Iterable[tuple[str, str, str, str]] = seeds.NODES,
    ):
        self.version = version
        self.authority = Authority()
        self.access = Access()
        self.store = Store()
        self.schemas = Schemas(version)
        self.resources = Resources()
        self.writer = Writer(self.store, self.schemas)
        self.loop = Loop(speed)
        self.recorder = Recorder(self.writer, self.resources)
        self.faults = Faults(self.access)
        self.requests: list[Logged] = []
        self.objects_api = Objects(self)
        self.subresources = Subresources(self)
        self.kubelet = Kubelet(self)
        self.pods = Behaviours(self.kubelet.behaviours_changed)
        self.controllers = Controllers(self)
        self.namespaces = self.controllers.namespaces
        self._reviews = reviews.Reviews(self)
        self._endpoint: Endpoint | None = None
        self._certificate = self.authority.client("kubernetes-admin", "system:masters")
        self.token = self.token_for("kubernetes-admin", "system:masters")
        self._crds, self._nodes = tuple(crds), tuple(nodes)

    # Its life.

    def start(self) -> "Cluster":
        self.controllers.start()
        self.loop.start()
        for name in self._crds:
            customs.install(self, name)
        seeds.plant(self, self._nodes)
        self._endpoint = Endpoint(self.authority, self._answer)
        return self

    def stop(self) -> None:
        self.store.close()
        self.loop.stop()
        self.kubelet.close()
        if self._endpoint:
            self._endpoint.close()
        if self.loop.failures:
            raise AssertionError("the simulator's controllers failed:\n" + "\n".join(self.loop.failures))

    def __enter__(self) -> "Cluster":
        return self.start()

    def __exit__(self, kind, *_: Any) -> None:
        try:
            self.stop()
        except AssertionError:
            if kind is None:
                raise

    # How to reach it.

    @property
    def server(self) -> str:
        return self._endpoint.url

    @property
    def certificate_authority(self) -> str:
        return self.authority.certificate

    @property
    def client_certificate(self) -> tuple[str, str]:
        """Certificate and key of the administrator, PEM."""
        return self._certificate

    def token_for(self, user: str, *groups: str) -> str:
        """A new bearer token of a user."""
        token = secrets.token_urlsafe(24)
        self.access.tokens[token] = User(user, (*groups, "system:authenticated"))
        return token

    def revoke(self, token: str) -> None:
        """From now on a token is refused with 401, as when it expired."""
        del self.access.tokens[token]

    def kubeconfig(
        self, path: Path | str | None = None, *, certificate: bool = False, namespace: str = ""
    ) -> str:
        """A kubeconfig's text, written to `path` when given; with the token, or a client certificate."""
        encoded = lambda text: base64.b64encode(text.encode()).decode()  # noqa: E731
        user: dict[str, str] = {"token": self.token}
        if certificate:
            given, key = self._certificate
            user = {"client-certificate-data": encoded(given), "client-key-data": encoded(key)}
        context = {"cluster": "simulated", "user": "admin", **({"namespace": namespace} if namespace else {})}
        text = yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "simulated",
                        "cluster": {
                            "server": self.server,
                            "certificate-authority-data": encoded(self.certificate_authority),
                        },
                    }
                ],
                "users": [{"name": "admin", "user": user}],
                "contexts": [{"name": "simulated", "context": context}],
                "current-context": "simulated",
            }
        )
        if path:
            Path(path).touch(0o600)
            Path(path).write_text(text)
        return text

    # The tests' hold on it.

    @property
    def speed(self) -> float:
        return self.loop.speed

    @speed.setter
    def speed(self, value: float) -> None:
        self.loop.speed = value

    def objects(self, kind: str, namespace: str = "", group: str | None = None) -> list[dict]:
        """Copies of the objects of a kind (or plural, or short name)."""
        resource = self.resources.kind(kind, group)
        return [json.loads(json.dumps(document)) for document in self.store.find(resource.key, namespace)]

    def object(self, kind: str, name: str, namespace: str = "", group: str | None = None) -> dict | None:
        resource = self.resources.kind(kind, group)
        found = self.store.get(resource.key, namespace, name)
        return json.loads(json.dumps(found)) if found else None

    @property
    def events(self) -> list[dict]:
        """Every event of every namespace, oldest first."""
        return sorted(self.objects("Event"), key=lambda event: int(event["metadata"]["resourceVersion"]))

    def create(self, document: dict, namespace: str = "") -> dict:
        """Make an object as a cluster's administrator would, past authentication."""
        group, _, version = document["apiVersion"].rpartition("/")
        resource = next(
            r for r in self.resources if (r.group, r.version, r.kind) == (group, version, document["kind"])
        )
        meta = dict(document.get("metadata") or {})
        if resource.namespaced:
            meta["namespace"] = meta.get("namespace") or namespace or "default"
        from tests.simulators.kubernetes.writing import Options

        return self.writer.create(resource, {**document, "metadata": meta}, Options(manager="test"))

    def edit(self, kind: str, name: str, namespace: str, change, manager: str = "kubectl-edit") -> dict:
        """Change an object behind the control plane's back; `change` gets a copy of it to work on."""
        resource = self.resources.kind(kind)
        document = self.writer.existing(resource, namespace, name)
        return self.writer.change(resource, document, change, manager)

    def delete(self, kind: str, name: str, namespace: str = "", **options: Any) -> None:
        self.writer.delete(self.resources.kind(kind), namespace, name, Deletion(**options))

    def install(self, crds: str) -> None:
        """Install a set of custom resources later on."""
        customs.install(self, crds)

    def refuse(self, **rule: Any):
        """A fault; see `Faults.refuse`. Returns it; `.stop()` ends it."""
        return self.faults.refuse(**rule)

    def wait(self, condition, timeout_seconds: float = 30.0, what: str = "") -> Any:
        """Until `condition()` is true, looked at after every change: its value, or AssertionError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            version = self.store.version
            if value := condition():
                return value
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"never happened in the simulated cluster: {what or condition}")
            self.store.wait(version, min(left, 0.2))

    def settle(self, timeout_seconds: float = 10.0) -> None:
        """Until the controllers have nothing to do at once."""
        assert self.loop.idle(timeout_seconds), "the simulated cluster's controllers never rest"

    # Answering.

    def _answer(self, request: Request) -> Answer:
        user = User("system:anonymous")
        try:
            if fault := self.faults.before(request):
                answer = fault
            else:
                user = self.access.authenticate(request.headers.get("authorization", ""), request.certificate)
                answer = self._routed(request, user)
                answer = self.faults.after(request) or answer
        except errors.StatusError as error:
            answer = _failed(error)
        except Exception as error:
            self.loop.failures.append(f"{request.method} {request.path}: {_trace()}")
            answer = _failed(errors.internal(f"the simulator failed: {error!r}"))
        agent = request.headers.get("user-agent", "")
        self.requests.append(
            Logged(request.method, request.path, request.query, answer.status, user.name, agent, request.body)
        )
        return answer

    def _routed(self, request: Request, user: User) -> Answer:
        parts = request.path.strip("/").split("/")
        resources, accept = self.resources, request.headers.get("accept", "")
        if user.name == "system:anonymous" and parts[0] not in ("version", "healthz", "livez", "readyz"):
            if parts[0] in ("api", "apis") and len(parts) > 2:
                call = take_apart(request, user, resources)
                self._authorize(call)
            raise errors.StatusError(
                403, "Forbidden", f'forbidden: User "system:anonymous" cannot get path "{request.path}"'
            )
        if parts[0] in ("healthz", "livez", "readyz"):
            return Answer(body=b"ok", content_type="text/plain")
        if parts == ["version"]:
            return Answer(json=discovery.version(self.version))
        if parts[0] in ("api", "apis") and len(parts) == 1 and "as=APIGroupDiscoveryList" in accept:
            version = "v2" if "v=v2;" in accept else "v2beta1"
            kind = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            document = discovery.aggregated(resources, version, legacy=parts[0] == "api")
            return Answer(json=document, content_type=kind)
        if parts == ["api"]:
            return Answer(json=discovery.legacy_versions(self.server.removeprefix("https://")))
        if parts == ["apis"]:
            return Answer(json=discovery.groups(resources))
        if parts[0] == "apis" and len(parts) == 2:
            return Answer(json=discovery.group(resources, parts[1], alone=True))
        if parts[0] == "api" and len(parts) == 2:
            return Answer(json=discovery.listing(resources, "", parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return Answer(json=discovery.listing(resources, parts[1], parts[2]))
        if parts[:2] == ["openapi", "v3"]:
            if len(parts) == 2:
                return Answer(json=openapi.index(resources))
            group, version = ("", parts[3]) if parts[2] == "api" else (parts[3], parts[4])
            return Answer(json=openapi.v3(resources, self.schemas, group, version))
        if parts[:2] == ["openapi", "v2"] and "proto-openapi" in accept:
            kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            return Answer(body=openapi.v2_protobuf(resources, f"v{self.version}.0"), content_type=kind)
        if parts[:2] == ["openapi", "v2"]:
            return Answer(json=openapi.v2(resources, self.schemas, f"v{self.version}.0"))
        if parts[0] not in ("api", "apis"):
            raise errors.no_such_path()
        call = take_apart(request, user, resources)
        self._authorize(call)
        if call.resource.group in ("authorization.k8s.io", "authentication.k8s.io"):
            return self._reviews.answer(call)
        if call.resource.group == "metrics.k8s.io":
            return self.controllers.metrics.answer(call)
        return self.objects_api.answer(call)

    def _authorize(self, call) -> None:
        name = (
            call.name.split(":")[-2 if call.name.count(":") == 2 else 0]
            if call.subresource == "proxy"
            else call.name
        )
        self.access.authorize(call.user, call.verb, call.resource, call.subresource, call.namespace, name)


def _failed(error: errors.StatusError) -> Answer:
    headers = list(error.headers.items())
    if error.text:
        return Answer(
            error.code, body=error.text.encode(), content_type="text/plain; charset=utf-8", headers=headers
        )
    return Answer(error.code, json=error.body(), headers=headers)


def _trace() -> str:
    import traceback

    return traceback.format_exc()
