"""What pods do in the simulated cluster: scripted, or a real process of this machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Served:
    """An answer of a pod's HTTP server. `body` may be JSON data, text or bytes."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class PodRequest:
    """A request that reached a pod: `pod` is its document, `path` as the pod sees it."""

    pod: dict
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    port: int


Serve = Callable[[PodRequest], Served] | Mapping[str, Served]


@dataclass(frozen=True)
class Behaviour:
    """How the containers of a pod fare.

    `kind` is one of run, pull_error, crash, unready, out_of_memory, unschedulable, evict, complete, process.
    `serve` answers HTTP: a callable, or a table by path. `logs` are written at each start. Seconds are of
    the cluster's clock. `cpu` and `memory` are what the metrics API tells (empty: what a process
    really uses, and little for a script).
    """

    kind: str = "run"
    after_seconds: float = 0.0
    message: str = ""
    exit_code: int = 0
    logs: tuple[str, ...] = ()
    serve: Serve | None = None
    env: Mapping[str, str] | Callable[[dict, dict[str, str]], Mapping[str, str]] = field(default_factory=dict)
    command: Callable[[dict, Mapping[str, str], int], list[str]] | None = None
    cpu: str = ""
    memory: str = ""


def ready(after: float = 0, serve: Serve | None = None, logs: tuple[str, ...] = (), **more: Any) -> Behaviour:
    """Runs, and is ready `after` seconds later."""
    return Behaviour("run", after_seconds=after, serve=serve, logs=tuple(logs), **more)


def pull_error(message: str = "") -> Behaviour:
    """The image cannot be pulled: ErrImagePull, then ImagePullBackOff."""
    return Behaviour("pull_error", message=message)


def crash_loop(exit_code: int = 1, after: float = 0, logs: tuple[str, ...] = (), **more: Any) -> Behaviour:
    """Starts and ends `after` seconds later, again and again."""
    return Behaviour("crash", after_seconds=after, exit_code=exit_code, logs=tuple(logs), **more)


def out_of_memory(after: float = 0, logs: tuple[str, ...] = ()) -> Behaviour:
    """Killed for its memory, again and again."""
    return Behaviour("out_of_memory", after_seconds=after, exit_code=137, logs=tuple(logs))


def unready(message: str = "HTTP probe failed with statuscode: 503", serve: Serve | None = None) -> Behaviour:
    """Runs, but its readiness probe fails."""
    return Behaviour("unready", message=message, serve=serve)


def unschedulable(message: str = "") -> Behaviour:
    """No node takes it; the scheduler's words unless `message` is given."""
    return Behaviour("unschedulable", message=message)


def evicted(message: str = "The node was low on resource: memory. ", after: float = 0) -> Behaviour:
    """The kubelet evicts it `after` seconds after it started."""
    return Behaviour("evict", message=message, after_seconds=after)


def completes(exit_code: int = 0, after: float = 0, logs: tuple[str, ...] = ()) -> Behaviour:
    """Ends by itself: what the pods of jobs do."""
    return Behaviour("complete", after_seconds=after, exit_code=exit_code, logs=tuple(logs))


def process(env=None, command=None, **more: Any) -> Behaviour:
    """The container's command runs as a process of this machine.

    `manage.py` commands run from this repository. `env` is laid over the pod's: a mapping, or a callable
    of (pod, environment) that gives one. `command` may turn (container, environment, port) into another
    command line.
    """
    return Behaviour("process", env=env or {}, command=command, **more)


class Behaviours:
    """The script of a cluster's pods: the rule added last wins."""

    def __init__(self, changed: Callable[[], None]):
        self._changed = changed
        self._rules: list[tuple[str | Mapping[str, str] | Callable[[dict], bool], Behaviour]] = []

    def behave(self, which: str | Mapping[str, str] | Callable[[dict], bool], behaviour: Behaviour) -> None:
        """From now on, for pods there are and pods to come.

        `which` is a label selector (`app=api`, or a mapping), an image (patterns allowed: `*/api:2`), or a
        predicate of the pod's document.
        """
        self._rules.append((which, behaviour))
        self._changed()

    def forget(self, which: Any = None) -> None:
        """Drop the rules for `which`, or all."""
        self._rules = [] if which is None else [rule for rule in self._rules if rule[0] != which]
        self._changed()

    def of(self, pod: dict) -> Behaviour:
        for which, behaviour in reversed(self._rules):
            if _fits(which, pod):
                return behaviour
        owners = [owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())]
        ends = "Job" in owners or (pod.get("spec") or {}).get("restartPolicy") in ("Never", "OnFailure")
        return completes() if ends else Behaviour()


def _fits(which: Any, pod: dict) -> bool:
    from fnmatch import fnmatchcase

    from tests.simulators.kubernetes import selectors

    if callable(which):
        return bool(which(pod))
    labels = pod["metadata"].get("labels") or {}
    if isinstance(which, Mapping):
        return all(labels.get(key) == value for key, value in which.items())
    if "=" in which or which.startswith("!"):
        return selectors.matches(selectors.parse(which), labels)
    images = [container.get("image", "") for container in (pod.get("spec") or {}).get("containers", ())]
    return any(fnmatchcase(image, which) for image in images)
