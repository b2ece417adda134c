"""Subresources that are no plain objects: scale, log, proxy, eviction, tokens."""

import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.simulators.kubernetes import errors, patching, selectors
from tests.simulators.kubernetes.behaviours import PodRequest, Served
from tests.simulators.kubernetes.server import Answer, parsed
from tests.simulators.kubernetes.writing import Deletion

# What a proxy does not hand on, and the client's credentials, which are the API server's own business.
_DROPPED = {
    "authorization",
    "connection",
    "host",
    "content-length",
    "transfer-encoding",
    "accept-encoding",
    "upgrade",
}
# Headers of an answer that the server writes itself.
_OWN = {"content-length", "transfer-encoding", "connection", "content-type", "date", "server"}


class Subresources:
    """For one cluster."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer

    def answer(self, call) -> Answer:
        found = getattr(self, f"_{call.subresource}", None)
        if found is None:
            raise errors.method_not_allowed()
        return found(call)

    # Scale.

    def _scale(self, call) -> Answer:
        with self.store.lock:
            document = self.writer.existing(call.resource, call.namespace, call.name)
            scale = self._scale_of(document)
            if call.verb == "get":
                return Answer(json=scale)
            objects = self.cluster.objects_api
            options = objects.options(call)
            try:
                body = parsed(call.request)
            except ValueError as error:
                raise errors.bad_request(str(error)) from None
            if call.verb == "patch":
                kind = call.request.headers.get("content-type", "").partition(";")[0]
                if kind == patching.JSON:
                    body = patching.json_patch(scale, body)
                else:
                    body = patching.merge_patch(scale, body)
            given = (body.get("metadata") or {}).get("resourceVersion")
            if given and given != document["metadata"]["resourceVersion"]:
                raise errors.conflict(call.resource, call.name)
            replicas = (body.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or replicas < 0:
                told = f"Invalid value: {replicas}: must be greater than or equal to 0"
                raise errors.invalid(call.resource, call.name, [("spec.replicas", told)])
            new = {**document, "spec": {**document["spec"], "replicas": replicas}}
            made = self.writer.scale(call.resource, document, new, options)
            return Answer(json=self._scale_of(made))

    @staticmethod
    def _scale_of(document: dict) -> dict:
        meta, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
        selector = spec.get("selector") or {}
        told = ",".join(
            f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())
        )
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {
                key: meta[key]
                for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
                if key in meta
            },
            "spec": {"replicas": spec.get("replicas", 0)},
            "status": {"replicas": status.get("replicas", 0), "selector": told},
        }

    # Logs.

    def _log(self, call) -> Answer:
        pod = self.writer.existing(call.resource, call.namespace, call.name)
        query = call.query
        names = [container["name"] for container in pod["spec"]["containers"]]
        every = names + [container["name"] for container in pod["spec"].get("initContainers", ())]
        name = query.get("container") or names[0]
        if not query.get("container") and len(names) > 1:
            raise errors.bad_request(
                f"a container name must be specified for pod {call.name}, choose one of: [{' '.join(names)}]"
            )
        if name not in every:
            raise errors.bad_request(f"container {name} is not valid for pod {call.name}")
        run = self.cluster.kubelet.runs.get(pod["metadata"]["uid"])
        previous = call.request.flag("previous")
        log = run.logs.get(name) if run else None
        if previous and not (log and log.has_previous):
            raise errors.bad_request(f'previous terminated container "{name}" in pod "{call.name}" not found')
        if log is None:
            raise errors.bad_request(
                f'container "{name}" in pod "{call.name}" is waiting to start: {self._waiting(run)}'
            )
        lines = log.lines(previous)
        seen = len(lines)
        since = None
        if query.get("sinceSeconds"):
            since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
        elif query.get("sinceTime"):
            since = datetime.fromisoformat(query["sinceTime"].replace("Z", "+00:00"))
        if since:
            # The kubelet compares whole seconds of what it is given.
            lines = [line for line in lines if line[0] >= since]
        if query.get("tailLines"):
            most = int(query["tailLines"])
            lines = lines[-most:] if most else []
        stamped = call.request.flag("timestamps")
        text = b"".join(_line(line, stamped) for line in lines)
        if query.get("limitBytes"):
            text = text[: int(query["limitBytes"])]
        if call.request.flag("follow") and not previous:
            return Answer(content_type="text/plain", stream=self._followed(log, text, seen, stamped))
        return Answer(content_type="text/plain", body=text)

    @staticmethod
    def _waiting(run) -> str:
        if run is None:
            return "ContainerCreating"
        return {
            "ImagePullBackOff": "trying and failing to pull image",
            "ErrImagePull": "image can't be pulled",
        }.get(run.reason, run.reason)

    def _followed(self, log, text: bytes, seen: int, stamped: bool) -> Iterator[bytes]:
        yield text
        for line in log.follow(seen, time.monotonic() + 3600):
            yield _line(line, stamped)

    # Eviction.

    def _eviction(self, call) -> Answer:
        pod = self.writer.existing(call.resource, call.namespace, call.name)
        labels = pod["metadata"].get("labels") or {}
        for budget in self.store.find("poddisruptionbudgets.policy", call.namespace):
            if not selectors.matches(selectors.of((budget.get("spec") or {}).get("selector")), labels):
                continue
            status = budget.get("status") or {}
            if status.get("disruptionsAllowed", 0) < 1:
                name = budget["metadata"]["name"]
                told = (
                    f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} "
                    "healthy pods and has "
                    f"{status.get('currentHealthy', 0)} currently"
                )
                raise errors.StatusError(
                    429,
                    "TooManyRequests",
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                    {"causes": [{"reason": "DisruptionBudget", "message": told}]},
                )
        self.writer.delete(call.resource, call.namespace, call.name, Deletion())
        return Answer(
            201, json={"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        )

    def _token(self, call) -> Answer:
        account = self.writer.existing(call.resource, call.namespace, call.name)
        body = parsed(call.request) or {}
        seconds = (body.get("spec") or {}).get("expirationSeconds", 3600)
        name = f"system:serviceaccount:{call.namespace}:{account['metadata']['name']}"
        token = self.cluster.token_for(
            name, "system:serviceaccounts", f"system:serviceaccounts:{call.namespace}"
        )
        ends = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Answer(
            201,
            json={
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"name": call.name, "namespace": call.namespace},
                "spec": body.get("spec") or {},
                "status": {"token": token, "expirationTimestamp": ends},
            },
        )

    # Proxy.

    def _proxy(self, call) -> Answer:
        _, name, port = _target(call.name)
        if call.resource.kind == "Service":
            pod, number = self._backend(call, name, port)
        else:
            pod = self.writer.existing(call.resource, call.namespace, name)
            number = _port_of(pod, port)
        path = "/" + call.rest if call.rest else "/"
        if call.request.path.endswith("/") and not path.endswith("/"):
            path += "/"
        return self.forward(pod, number, call.request.method, path, call.request)

    def _backend(self, call, name: str, port: str) -> tuple[dict, int]:
        service = self.writer.existing(call.resource, call.namespace, name)
        ports = service["spec"].get("ports") or []
        chosen = next(
            (
                p
                for p in ports
                if port in (str(p.get("port")), p.get("name")) or (not port and len(ports) == 1)
            ),
            None,
        )
        if chosen is None:
            raise errors.unavailable(f'no service port "{port}" found for service "{name}"')
        selector = service["spec"].get("selector") or {}
        pods = [
            pod
            for pod in self.store.find("pods", call.namespace)
            if selector
            and all((pod["metadata"].get("labels") or {}).get(k) == v for k, v in selector.items())
            and _is_ready(pod)
        ]
        if not pods:
            raise errors.unavailable(f'no endpoints available for service "{name}"')
        pod = pods[self.writer.random.randrange(len(pods))]
        return pod, _port_of(pod, str(chosen.get("targetPort", chosen["port"])))

    def forward(self, pod: dict, port: int, method: str, path: str, request) -> Answer:
        """To the pod as the API server's proxy does: no Authorization header; an unreachable pod is 503."""
        run = self.cluster.kubelet.runs.get(pod["metadata"]["uid"])
        if not (pod.get("status") or {}).get("podIP"):
            raise errors.bad_request("address not allowed")
        headers = {key: value for key, value in request.headers.items() if key not in _DROPPED}
        headers["x-forwarded-uri"] = request.path
        where = f"{run.ip if run else ''}:{port}"
        if run is None or run.stage != "running":
            raise errors.unavailable(
                f"error trying to reach service: dial tcp {where}: connect: connection refused"
            )
        if run.process:
            return self._to_process(run, where, method, path, request, headers)
        served = self._scripted(run, pod, port, method, path, request, headers)
        if served is None:
            raise errors.unavailable(
                f"error trying to reach service: dial tcp {where}: connect: connection refused"
            )
        if served.delay_seconds:
            time.sleep(served.delay_seconds)
        body, kind = served.body, "text/plain; charset=utf-8"
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body, kind = json.dumps(body).encode(), "application/json"
        given = {name.lower(): value for name, value in served.headers.items()}
        kind = given.pop("content-type", kind)
        return Answer(served.status, body=body, content_type=kind, headers=list(given.items()))

    @staticmethod
    def _scripted(run, pod, port, method, path, request, headers) -> Served | None:
        serve = run.behaviour.serve
        if serve is None:
            return None
        if callable(serve):
            return serve(PodRequest(pod, method, path, request.raw_query, headers, request.body, port))
        return serve.get(path) or Served(404, "404 page not found\n")

    @staticmethod
    def _to_process(run, where, method, path, request, headers) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=60)
        try:
            target = path + (f"?{request.raw_query}" if request.raw_query else "")
            connection.request(method, target, body=request.body or None, headers={**headers, "Host": where})
            answer = connection.getresponse()
            # What has no length is handed on as it comes: it may be a stream without an end.
            stream = _chunks(connection, answer) if answer.length is None else None
            body = b"" if stream else answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            why = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
            raise errors.unavailable(f"error trying to reach service: dial tcp {where}: {why}") from None
        if stream is None:
            connection.close()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN]
        kind = answer.getheader("Content-Type") or "application/octet-stream"
        return Answer(answer.status, body=body, content_type=kind, headers=kept, stream=stream)


def _chunks(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := answer.read1(64 * 1024):
            yield chunk
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def _line(line: tuple[datetime, str], stamped: bool) -> bytes:
    at, text = line
    stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z " if stamped else ""
    return f"{stamp}{text}\n".encode()


def _target(name: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]`"""
    parts = name.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) > 1 else ""


def _port_of(pod: dict, port: str) -> int:
    ports = [p for container in pod["spec"]["containers"] for p in container.get("ports", ())]
    if port.isdigit():
        return int(port)
    for entry in ports:
        if not port or entry.get("name") == port:
            return entry["containerPort"]
    return 80


def _is_ready(pod: dict) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
