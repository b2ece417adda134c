"""What the operators of custom resources do: CloudNativePG, cert-manager, a Gateway API implementation.

Only what their users look at: conditions, phases, the secrets and services they make. `paused` holds the
kinds that are left alone, so that a test may play the operator itself.
"""

import base64
import secrets

from tests.simulators.kubernetes import applying
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.store import Change
from tests.simulators.kubernetes.writing import Options

CNPG = "clusters.postgresql.cnpg.io"


class Operators:
    """Wakes on changes of the custom resources it knows."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.paused: set[str] = set()
        self._kinds = {
            CNPG: self._database,
            "backups.postgresql.cnpg.io": self._backup,
            "certificates.cert-manager.io": self._certificate,
            "gateways.gateway.networking.k8s.io": self._gateway,
            "httproutes.gateway.networking.k8s.io": self._route,
        }

    def changed(self, change: Change) -> None:
        meta = change.document["metadata"]
        if change.type != "DELETED" and change.key in self._kinds:
            self._soon(change.key, meta["namespace"], meta["name"])
        elif change.key == "pods" and "cnpg.io/cluster" in (meta.get("labels") or {}):
            self._soon(CNPG, meta["namespace"], meta["labels"]["cnpg.io/cluster"])

    def _soon(self, key: str, namespace: str, name: str) -> None:
        self.cluster.loop.soon((key, namespace, name), lambda: self.sync(key, namespace, name))

    def sync(self, key: str, namespace: str, name: str) -> None:
        with self.store.lock:
            document = self.store.get(key, namespace, name)
            if document is None or document["metadata"].get("deletionTimestamp"):
                return
            if document["kind"] not in self.paused:
                self._kinds[key](document)

    def _status(self, document: dict, status: dict) -> None:
        group, _, version = document["apiVersion"].rpartition("/")
        resource = next(
            r
            for r in self.cluster.resources
            if (r.group, r.version, r.kind) == (group, version, document["kind"])
        )
        self.writer.status(resource, document, {**(document.get("status") or {}), **status}, "operator")

    def _make(self, plural: str, owner: dict, name: str, body: dict, labels: dict | None = None) -> None:
        resource = self.cluster.resources.find("", "v1", plural)
        namespace = owner["metadata"]["namespace"]
        if self.store.get(resource.key, namespace, name) is None:
            meta = {"name": name, "namespace": namespace, "ownerReferences": [of.reference(owner)]}
            meta["labels"] = labels or {}
            self.writer.create(resource, {"metadata": meta, **body}, Options(manager="operator"))

    def _database(self, document: dict) -> None:
        """A CloudNativePG cluster: the application's secret, three services, one pod for each instance."""
        meta, spec = document["metadata"], document.get("spec") or {}
        name, namespace, count = meta["name"], meta["namespace"], spec.get("instances", 1)
        labels = {"cnpg.io/cluster": name}
        init = (spec.get("bootstrap") or {}).get("initdb") or {}
        user, database = init.get("owner") or "app", init.get("database") or "app"
        host = f"{name}-rw"
        if not (init.get("secret") or {}).get("name"):
            password = secrets.token_urlsafe(24)
            url = f"postgresql://{user}:{password}@{host}.{namespace}:5432/{database}"
            data = {
                "username": user,
                "user": user,
                "password": password,
                "dbname": database,
                "host": host,
                "port": "5432",
                "uri": url,
            }
            encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
            self._make(
                "secrets",
                document,
                f"{name}-app",
                {"type": "kubernetes.io/basic-auth", "data": encoded},
                labels,
            )
        for suffix, role in (
            ("rw", {"cnpg.io/instanceRole": "primary"}),
            ("ro", {"cnpg.io/instanceRole": "replica"}),
            ("r", {}),
        ):
            ports = [{"name": "postgres", "port": 5432, "targetPort": 5432}]
            body = {"spec": {"selector": {**labels, **role}, "ports": ports}}
            self._make("services", document, f"{name}-{suffix}", body, labels)
        image = spec.get("imageName") or "ghcr.io/cloudnative-pg/postgresql:18"
        resources = spec.get("resources") or {}
        for number in range(1, count + 1):
            role = "primary" if number == 1 else "replica"
            body = {
                "spec": {
                    "containers": [
                        {
                            "name": "postgres",
                            "image": image,
                            "ports": [{"name": "postgresql", "containerPort": 5432}],
                            "resources": resources,
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                                "readOnlyRootFilesystem": True,
                            },
                        }
                    ],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 26,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            }
            held = {**labels, "cnpg.io/instanceName": f"{name}-{number}", "cnpg.io/instanceRole": role}
            self._make("pods", document, f"{name}-{number}", body, {**held, "cnpg.io/podRole": "instance"})
        pods = of.owned(self.store, "pods", document)
        ready = sum(of.is_ready(pod) for pod in pods)
        healthy = ready == count
        condition = of.with_condition(
            (document.get("status") or {}).get("conditions") or [],
            "Ready",
            "True" if healthy else "False",
            "ClusterIsReady" if healthy else "ClusterIsNotReady",
            "Cluster is Ready" if healthy else "Cluster Is Not Ready",
            applying.now(),
        )
        self._status(
            document,
            {
                "phase": "Cluster in healthy state" if healthy else "Setting up primary",
                "instances": count,
                "readyInstances": ready,
                "currentPrimary": f"{name}-1",
                "targetPrimary": f"{name}-1",
                "image": image,
                "writeService": f"{name}-rw",
                "readService": f"{name}-r",
                "conditions": condition,
            },
        )

    def _backup(self, document: dict) -> None:
        if not (document.get("status") or {}).get("phase"):
            now = applying.now()
            self._status(document, {"phase": "completed", "startedAt": now, "stoppedAt": now})

    def _conditions(self, document: dict, *kinds: tuple[str, str]) -> list[dict]:
        found = (document.get("status") or {}).get("conditions") or []
        for kind, reason in kinds:
            found = of.with_condition(found, kind, "True", reason, "", applying.now())
        number = document["metadata"].get("generation", 1)
        return [{**condition, "observedGeneration": number} for condition in found]

    def _certificate(self, document: dict) -> None:
        name = (document.get("spec") or {}).get("secretName", "")
        if name:
            certificate, key = self.cluster.authority.client(document["metadata"]["name"])
            data = {"tls.crt": certificate, "tls.key": key, "ca.crt": self.cluster.certificate_authority}
            encoded = {field: base64.b64encode(text.encode()).decode() for field, text in data.items()}
            self._make("secrets", document, name, {"type": "kubernetes.io/tls", "data": encoded})
        self._status(document, {"conditions": self._conditions(document, ("Ready", "Ready"))})

    def _gateway(self, document: dict) -> None:
        conditions = self._conditions(document, ("Accepted", "Accepted"), ("Programmed", "Programmed"))
        addresses = [{"type": "IPAddress", "value": "203.0.113.10"}]
        self._status(document, {"conditions": conditions, "addresses": addresses})

    def _route(self, document: dict) -> None:
        before = {str(p["parentRef"]): p for p in (document.get("status") or {}).get("parents", ())}
        parents = []
        for reference in (document.get("spec") or {}).get("parentRefs", ()):
            held = {"status": {"conditions": before.get(str(reference), {}).get("conditions", [])}}
            held["metadata"] = document["metadata"]
            conditions = self._conditions(held, ("Accepted", "Accepted"), ("ResolvedRefs", "ResolvedRefs"))
            controller = "simulated.example/gateway"
            parents.append({"parentRef": reference, "controllerName": controller, "conditions": conditions})
        if parents:
            self._status(document, {"parents": parents})
