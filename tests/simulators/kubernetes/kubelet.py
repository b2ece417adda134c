"""What becomes of a pod on its node: pulling, starting, probing, crashing, ending; its status and events."""

import itertools
import signal
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.simulators.kubernetes import applying, environment, probes
from tests.simulators.kubernetes.behaviours import Behaviour
from tests.simulators.kubernetes.podlogs import Log
from tests.simulators.kubernetes.podstatus import status_of
from tests.simulators.kubernetes.processes import Process, free_port

KUBELET = "kubelet"
_EVICTION_SECONDS = 60
_BACK_OFF_SECONDS, _BACK_OFF_MOST_SECONDS = 10, 300


@dataclass
class Run:
    """What the kubelet remembers of a pod. `stage` is waiting, running, ended, failed (the pod) or done."""

    uid: str
    behaviour: Behaviour
    ip: str
    stage: str = "waiting"
    reason: str = "ContainerCreating"
    message: str = ""
    ready: bool = False
    restarts: int = 0
    started: str = ""
    terminated: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    phase: str = "Pending"
    pod_reason: str = ""
    pod_message: str = ""
    attempts: int = 0
    logs: dict[str, Log] = field(default_factory=dict)
    process: Process | None = None
    port: int = 0
    prober: "probes.Prober | None" = None
    transitions: dict[str, tuple[str, str]] = field(default_factory=dict)
    ending: bool = False

    def log(self, container: str) -> Log:
        return self.logs.setdefault(container, Log())


class Kubelet:
    """One for all nodes. Runs on the controllers' loop."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer, self.loop = (
            cluster,
            cluster.store,
            cluster.writer,
            cluster.loop,
        )
        self.pods = cluster.resources.find("", "v1", "pods")
        self.runs: dict[str, Run] = {}
        self._addresses = itertools.count(2)
        self._lock = threading.RLock()
        self._folder = tempfile.TemporaryDirectory(prefix="kubelet-")

    # What starts it.

    def seen(self, pod: dict) -> None:
        """A pod changed."""
        meta = pod["metadata"]
        self.loop.soon(
            ("kubelet", meta["uid"]), lambda: self.sync(meta["namespace"], meta["name"], meta["uid"])
        )

    def behaviours_changed(self) -> None:
        for pod in self.store.find("pods"):
            self.seen(pod)

    def sync(self, namespace: str, name: str, uid: str) -> None:
        pod = self.store.get("pods", namespace, name)
        if pod is None or pod["metadata"]["uid"] != uid:
            self._forget(uid)
            return
        if not (pod.get("spec") or {}).get("nodeName"):
            if pod["metadata"].get("deletionTimestamp"):
                self.store.remove("pods", namespace, name)
            return
        run = self.runs.get(uid)
        if run is None:
            if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
                return
            number = next(self._addresses)
            run = Run(uid, self.cluster.pods.of(pod), f"10.244.{number // 250}.{number % 250 + 2}")
            self.runs[uid] = run
            self._admit(pod, run)
        if pod["metadata"].get("deletionTimestamp"):
            self._terminate(pod, run)
            return
        behaviour = self.cluster.pods.of(pod)
        if behaviour != run.behaviour:
            self._changed(pod, run, behaviour)
        self._write(pod, run)

    def _forget(self, uid: str) -> None:
        run = self.runs.pop(uid, None)
        if run:
            self._stop(run)

    def _stop(self, run: Run) -> None:
        if run.prober:
            run.prober.stop()
            run.prober = None
        process, run.process = run.process, None
        if process:
            process.kill()
        for log in run.logs.values():
            log.close()

    # Its life.

    def _tell(self, pod: dict, reason: str, message: str, kind: str = "Normal", container: str = "") -> None:
        path = f"spec.containers{{{container}}}" if container else ""
        self.cluster.recorder.tell(
            pod, reason, message, kind=kind, field_path=path, node=pod["spec"].get("nodeName", "")
        )

    def _admit(self, pod: dict, run: Run) -> None:
        if problem := self._mounts(pod):
            self._tell(pod, "FailedMount", problem, "Warning")
            self._again(pod, run, 2)
            return
        first = pod["spec"]["containers"][0]
        name, image = first["name"], first.get("image", "")
        if run.behaviour.kind == "pull_error":
            self._tell(pod, "Pulling", f'Pulling image "{image}"', container=name)
            self._pull_failed(pod, run)
            return
        try:
            for container in pod["spec"]["containers"]:
                environment.resolve(self.store, pod, container)
        except environment.Missing as missing:
            run.reason, run.message = "CreateContainerConfigError", str(missing)
            self._tell(pod, "Failed", f"Error: {missing}", "Warning", name)
            self._again(pod, run, 5)
            return
        for container in pod["spec"]["containers"]:
            told = f'Container image "{container.get("image")}" already present on machine'
            self._tell(pod, "Pulled", told, container=container["name"])
        self._start(pod, run)

    def _again(self, pod: dict, run: Run, seconds: float) -> None:
        meta = pod["metadata"]

        def retry() -> None:
            now = self.store.get("pods", meta["namespace"], meta["name"])
            if now and now["metadata"]["uid"] == run.uid and run.stage == "waiting":
                run.reason, run.message = "ContainerCreating", ""
                self._admit(now, run)
                self._write(now, run)

        self.loop.later(seconds, ("admit", run.uid), retry)

    def _mounts(self, pod: dict) -> str:
        namespace = pod["metadata"]["namespace"]
        for volume in pod["spec"].get("volumes", ()):
            for kind, key, label in (
                ("secret", "secrets", "secretName"),
                ("configMap", "configmaps", "name"),
            ):
                source = volume.get(kind)
                if (
                    source
                    and not source.get("optional")
                    and not self.store.get(key, namespace, source.get(label, ""))
                ):
                    told = f'{kind.lower()} "{source.get(label, "")}" not found'
                    return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {told}'
        return ""

    def _pull_failed(self, pod: dict, run: Run) -> None:
        first = pod["spec"]["containers"][0]
        name, image = first["name"], first.get("image", "")
        why = run.behaviour.message or (
            f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": failed to resolve '
            f'reference "{image}": {image}: not found'
        )
        told = f'Failed to pull image "{image}": {why}'
        if run.attempts == 0:
            self._tell(pod, "Failed", told, "Warning", name)
            self._tell(pod, "Failed", "Error: ErrImagePull", "Warning", name)
            run.reason, run.message = "ErrImagePull", why if run.behaviour.message else told
            run.attempts = 1
            self._timer(pod, run, 1, self._pull_failed)
        else:
            back_off = f'Back-off pulling image "{image}"'
            self._tell(pod, "BackOff", back_off, container=name)
            self._tell(pod, "Failed", "Error: ImagePullBackOff", "Warning", name)
            run.reason, run.message = "ImagePullBackOff", f"{back_off}: ErrImagePull: {why}"
            run.attempts += 1
            self._timer(pod, run, min(300, 10 * 2 ** min(run.attempts, 5)), self._pull_failed)

    def _timer(self, pod: dict, run: Run, seconds: float, action, what: str = "life") -> None:
        meta = pod["metadata"]

        def act() -> None:
            now = self.store.get("pods", meta["namespace"], meta["name"])
            if now is None or now["metadata"]["uid"] != run.uid or now["metadata"].get("deletionTimestamp"):
                return
            action(now, run)
            self._write(now, run)

        if seconds <= 0:
            self.loop.soon((what, run.uid), act)
        else:
            self.loop.later(seconds, (what, run.uid), act)

    def _start(self, pod: dict, run: Run) -> None:
        behaviour = run.behaviour
        for container in pod["spec"]["containers"]:
            name = container["name"]
            self._tell(pod, "Created", f"Created container: {name}", container=name)
            run.log(name).start()
        first = pod["spec"]["containers"][0]["name"]
        if behaviour.kind == "process" and not self._launch(pod, run):
            run.stage, run.terminated = "waiting", None
            self._again(pod, run, 5)
            return
        self._tell(pod, "Started", f"Started container {first}", container=first)
        run.stage, run.reason, run.message, run.phase = "running", "", "", "Running"
        run.started, run.ready, run.terminated = applying.now(), False, None
        for text in behaviour.logs:
            run.log(first).write(text)
        self._follow(pod, run)

    def _follow(self, pod: dict, run: Run) -> None:
        """What comes next for a container that runs."""
        kind, after = run.behaviour.kind, run.behaviour.after_seconds
        self.loop.cancel(("life", run.uid))
        if kind == "run":
            if after > 0 and not run.ready:
                self._timer(pod, run, after, self._became_ready)
            else:
                run.ready = True
        elif kind == "unready":
            run.ready = False
            self._timer(pod, run, 0, self._unhealthy)
        elif kind in ("crash", "out_of_memory", "complete"):
            run.ready = kind != "complete" and after > 0
            self._timer(pod, run, after, self._ended_as_told)
        elif kind == "evict":
            # What takes the place of an evicted pod is left alone for a while, or there were no end of it.
            after += _EVICTION_SECONDS * self._evicted_before(pod)
            run.ready = after > 0
            self._timer(pod, run, after, self._evict)

    def _evicted_before(self, pod: dict) -> int:
        """How many pods of the same owner were evicted."""
        owners = pod["metadata"].get("ownerReferences")
        return sum(
            other["metadata"].get("ownerReferences") == owners
            and (other.get("status") or {}).get("reason") == "Evicted"
            for other in self.store.find("pods", pod["metadata"]["namespace"])
        )

    @staticmethod
    def _became_ready(pod: dict, run: Run) -> None:
        run.ready = True

    def _unhealthy(self, pod: dict, run: Run) -> None:
        if run.behaviour.kind != "unready" or run.stage != "running":
            return
        first = pod["spec"]["containers"][0]
        told = f"Readiness probe failed: {run.behaviour.message}"
        self._tell(pod, "Unhealthy", told, "Warning", first["name"])
        period = (first.get("readinessProbe") or {}).get("periodSeconds", 10)
        self._timer(pod, run, period, self._unhealthy)

    def _ended_as_told(self, pod: dict, run: Run) -> None:
        reason = {"out_of_memory": "OOMKilled"}.get(run.behaviour.kind, "")
        self._ended(pod, run, run.behaviour.exit_code, reason)

    def _ended(self, pod: dict, run: Run, code: int, reason: str = "") -> None:
        """The main container ended: restart it, back off, or end the pod."""
        if run.prober:
            run.prober.stop()
            run.prober = None
        first = pod["spec"]["containers"][0]["name"]
        run.log(first).end()
        state = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "startedAt": run.started,
            "finishedAt": applying.now(),
            "containerID": f"containerd://{run.uid.replace('-', '')}{run.restarts:032x}",
        }
        run.ready, run.terminated, run.process = False, state, None
        policy = pod["spec"].get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            run.stage, run.phase = "done", "Succeeded" if code == 0 else "Failed"
            return
        run.last = state
        if run.restarts == 0:
            self._timer(pod, run, 0, self._restart)
            run.stage = "ended"
            return
        seconds = min(_BACK_OFF_MOST_SECONDS, _BACK_OFF_SECONDS * 2 ** (run.restarts - 1))
        meta = pod["metadata"]
        told = f"container {first} in pod {meta['name']}_{meta['namespace']}({meta['uid']})"
        run.stage, run.terminated = "waiting", None
        run.reason = "CrashLoopBackOff"
        run.message = f"back-off {_duration(seconds)} restarting failed " + told.replace(
            "container ", "container=", 1
        ).replace(" in pod ", " pod=")
        self._tell(pod, "BackOff", f"Back-off restarting failed {told}", "Warning", first)
        self._timer(pod, run, seconds, self._restart)

    def _restart(self, pod: dict, run: Run) -> None:
        run.restarts += 1
        self._start(pod, run)

    def _evict(self, pod: dict, run: Run) -> None:
        first = pod["spec"]["containers"][0]["name"]
        told = run.behaviour.message
        if told.endswith(". "):
            told += (
                f"Threshold quantity: 100Mi, available: 52Mi. Container {first} was using 2Gi, "
                "request is 0, has larger consumption of memory. "
            )
        self._stop(run)
        run.stage, run.phase, run.ready = "done", "Failed", False
        run.pod_reason, run.pod_message = "Evicted", told
        run.terminated = {
            "exitCode": 137,
            "reason": "Error",
            "startedAt": run.started,
            "finishedAt": applying.now(),
        }
        self._tell(pod, "Evicted", told, "Warning")

    def _changed(self, pod: dict, run: Run, behaviour: Behaviour) -> None:
        """The script changed under a pod that is there."""
        before, run.behaviour = run.behaviour, behaviour
        if run.stage == "done":
            return
        if (
            "process" in (before.kind, behaviour.kind)
            and before.kind != behaviour.kind
            and run.stage == "running"
        ):
            self._stop(run)
            self._start(pod, run)
        elif run.stage == "running":
            if (before.kind, before.after_seconds) != (behaviour.kind, behaviour.after_seconds):
                self._follow(pod, run)
        elif before.kind == "pull_error" and behaviour.kind != "pull_error":
            run.reason, run.message = "ContainerCreating", ""
            self._admit(pod, run)
        elif run.reason == "CrashLoopBackOff" and behaviour.kind not in ("crash", "out_of_memory"):
            self._timer(pod, run, 0, self._restart)

    def _terminate(self, pod: dict, run: Run) -> None:
        meta = pod["metadata"]
        if run.ending:
            return
        run.ending = True
        first = pod["spec"]["containers"][0]["name"]
        if run.stage == "running":
            self._tell(pod, "Killing", f"Stopping container {first}", container=first)
        run.ready = False
        self._write(pod, run)
        remove = lambda: self._remove(meta["namespace"], meta["name"], run.uid)  # noqa: E731
        if run.process:
            run.process.signal(signal.SIGTERM)
            self.loop.later(meta.get("deletionGracePeriodSeconds", 30), ("grace", run.uid), remove)
        else:
            self.loop.soon(("remove", run.uid), remove)

    def _remove(self, namespace: str, name: str, uid: str) -> None:
        self.loop.cancel(("grace", uid))
        self._forget(uid)
        with self.store.lock:
            pod = self.store.get("pods", namespace, name)
            if pod is None or pod["metadata"]["uid"] != uid:
                return
            if pod["metadata"].get("finalizers"):
                self.store.put(
                    "pods", {**pod, "metadata": {**pod["metadata"], "deletionGracePeriodSeconds": 0}}
                )
            else:
                self.store.remove("pods", namespace, name)

    # Processes.

    def _launch(self, pod: dict, run: Run) -> bool:
        container = pod["spec"]["containers"][0]
        name, meta = container["name"], pod["metadata"]
        try:
            env = environment.resolve(self.store, pod, container)
        except environment.Missing as missing:
            run.reason, run.message = "CreateContainerConfigError", str(missing)
            return False
        given = run.behaviour.env
        env.update(given(pod, env) if callable(given) else given)
        run.port = free_port()
        make = run.behaviour.command or environment.command_line
        command = make(container, env, run.port)
        home = Path(self._folder.name) / run.uid
        home.mkdir(exist_ok=True)
        env.setdefault("HOME", str(home))
        env.setdefault("HOSTNAME", meta["name"])
        log = run.log(name)

        def on_exit(code: int) -> None:
            self.loop.soon(
                ("exit", run.uid, run.restarts), lambda: self._process_ended(meta, run, process, code)
            )

        process = Process(command, env, environment.REPOSITORY, log.write, on_exit)
        run.process = process
        run.prober = probes.Prober(self, pod, run, container)
        run.prober.start()
        return True

    def _process_ended(self, meta: dict, run: Run, process: Process, code: int) -> None:
        if run.process is not process:
            return
        if run.ending:
            run.process = None
            self._remove(meta["namespace"], meta["name"], run.uid)
            return
        pod = self.store.get("pods", meta["namespace"], meta["name"])
        if pod and pod["metadata"]["uid"] == run.uid:
            self._ended(pod, run, code)
            self._write(pod, run)

    def probed(self, pod: dict, run: Run, kind: str, failure: str, *, kill: bool = False) -> None:
        """A probe of a process gave a result: "" or why it failed. Called from the prober's thread."""
        meta = pod["metadata"]

        def act() -> None:
            now = self.store.get("pods", meta["namespace"], meta["name"])
            if now is None or now["metadata"]["uid"] != run.uid or run.stage != "running" or run.ending:
                return
            first = now["spec"]["containers"][0]["name"]
            if failure:
                self._tell(now, "Unhealthy", f"{kind} probe failed: {failure}", "Warning", first)
            if kind == "Readiness":
                run.ready = not failure
            if kill and run.process:
                told = f"Container {first} failed {kind.lower()} probe, will be restarted"
                self._tell(now, "Killing", told, container=first)
                run.process.signal(signal.SIGTERM)
            self._write(now, run)

        self.loop.soon(("probe", run.uid, kind, bool(failure), kill), act)

    # Its status.

    def _write(self, pod: dict, run: Run) -> None:
        if run.uid not in self.runs:
            return
        node = self.store.get("nodes", "", pod["spec"]["nodeName"])
        self.writer.status(self.pods, pod, status_of(pod, run, node), KUBELET)

    def close(self) -> None:
        for uid in list(self.runs):
            self._forget(uid)
        self._folder.cleanup()


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def at() -> datetime:
    return datetime.now(UTC)
