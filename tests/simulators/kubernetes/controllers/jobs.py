"""Jobs: pods until enough of them succeeded, a back-off limit, a deadline, a time to live."""

from tests.simulators.kubernetes import applying
from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.errors import StatusError
from tests.simulators.kubernetes.writing import Deletion, Options

COMPONENT = "job-controller"


class Jobs:
    """The job controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.jobs = cluster.resources.find("batch", "v1", "jobs")
        self.pods = cluster.resources.find("", "v1", "pods")

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            job = self.store.get(self.jobs.key, namespace, name)
            if job is None or job["metadata"].get("deletionTimestamp"):
                return
            if self._finished(job):
                return
            spec, status = job["spec"], dict(job.get("status") or {})
            held = of.owned(self.store, "pods", job)
            if spec.get("suspend"):
                self._suspend(job, held, status)
                return
            if not status.get("startTime"):
                status["startTime"] = applying.now()
                if deadline := spec.get("activeDeadlineSeconds"):
                    self._later(job, deadline, "deadline", self._expired)
            status["conditions"] = [c for c in status.get("conditions", ()) if c["type"] != "Suspended"]
            succeeded = sum((p.get("status") or {}).get("phase") == "Succeeded" for p in held)
            failed = sum((p.get("status") or {}).get("phase") == "Failed" for p in held)
            active = [pod for pod in held if of.is_active(pod)]
            restarts = sum(
                s.get("restartCount", 0)
                for p in active
                for s in (p.get("status") or {}).get("containerStatuses", ())
            )
            completions = spec.get("completions", 1)
            if succeeded >= completions:
                self._complete(job, status, succeeded, failed)
            elif failed > spec.get("backoffLimit", 6) or restarts > spec.get("backoffLimit", 6):
                told = "Job has reached the specified backoff limit"
                self._fail(job, status, active, succeeded, failed, "BackoffLimitExceeded", told)
            else:
                missing = min(spec.get("parallelism", 1), completions - succeeded) - len(active)
                self._start(job, status, missing, active, succeeded, failed)

    @staticmethod
    def _finished(job: dict) -> bool:
        return any(
            (found := of.condition(job, kind)) and found["status"] == "True"
            for kind in ("Complete", "Failed")
        )

    def _later(self, job: dict, seconds: float, what: str, action) -> None:
        meta = job["metadata"]
        self.cluster.loop.later(
            seconds, (what, meta["uid"]), lambda: action(meta["namespace"], meta["name"], meta["uid"])
        )

    def _start(self, job, status, missing, active, succeeded, failed) -> None:
        meta = job["metadata"]
        if missing > 0 and failed:
            # The controller waits longer after each failure; a change of the job starts no pod earlier.
            key = ("backoff", meta["uid"])
            if status.get("failed", 0) != failed:
                self.cluster.loop.later(
                    min(600, 10 * 2 ** (failed - 1)),
                    key,
                    lambda: self._resume(meta["namespace"], meta["name"], failed),
                )
            missing = missing if self._ready_after(meta["uid"]) == failed else 0
        made = 0
        for _ in range(max(0, missing)):
            pod = of.from_template(job, job["spec"]["template"], generateName=f"{meta['name']}-")
            pod["metadata"].setdefault("finalizers", [])
            try:
                created = self.writer.create(self.pods, pod, Options())
            except StatusError as error:
                told = f"Error creating: {error.message}"
                self.cluster.recorder.tell(job, "FailedCreate", told, kind="Warning", component=COMPONENT)
                self._later(job, 5, "again", lambda namespace, name, _: self.sync(namespace, name))
                break
            made += 1
            told = f"Created pod: {created['metadata']['name']}"
            self.cluster.recorder.tell(job, "SuccessfulCreate", told, component=COMPONENT)
        ready = sum(of.is_ready(pod) for pod in active)
        self._write(job, status, len(active) + made, succeeded, failed, ready)

    _resumed: dict[str, int]

    def _ready_after(self, uid: str) -> int:
        return self.__dict__.setdefault("_resumed", {}).get(uid, 0)

    def _resume(self, namespace: str, name: str, failed: int) -> None:
        job = self.store.get(self.jobs.key, namespace, name)
        if job:
            self.__dict__.setdefault("_resumed", {})[job["metadata"]["uid"]] = failed
            self.sync(namespace, name)

    def _write(self, job, status, active, succeeded, failed, ready=0) -> None:
        status |= {
            "active": active,
            "succeeded": succeeded,
            "failed": failed,
            "ready": ready,
            "terminating": 0,
        }
        status["uncountedTerminatedPods"] = {}
        kept = {
            k: v for k, v in status.items() if v or k in ("ready", "terminating", "uncountedTerminatedPods")
        }
        self.writer.status(self.jobs, job, kept)

    def _complete(self, job, status, succeeded, failed) -> None:
        now = applying.now()
        told = "Reached expected number of succeeded pods"
        conditions = status["conditions"]
        for kind in ("SuccessCriteriaMet", "Complete"):
            conditions = of.with_condition(conditions, kind, "True", "CompletionsReached", told, now)
        status |= {"conditions": conditions, "completionTime": now}
        self._write(job, status, 0, succeeded, failed)
        self.cluster.recorder.tell(job, "Completed", "Job completed", component=COMPONENT)
        self._expire_later(job)

    def _fail(self, job, status, active, succeeded, failed, reason, told) -> None:
        for pod in active:
            self.writer.delete(self.pods, pod["metadata"]["namespace"], pod["metadata"]["name"], Deletion())
        conditions = status.get("conditions") or []
        for kind in ("FailureTarget", "Failed"):
            conditions = of.with_condition(conditions, kind, "True", reason, told, applying.now())
        status["conditions"] = conditions
        self._write(
            job, status, 0, succeeded, failed + (len(active) if reason == "BackoffLimitExceeded" else 0)
        )
        self.cluster.recorder.tell(job, reason, told, kind="Warning", component=COMPONENT)
        self._expire_later(job)

    def _expired(self, namespace: str, name: str, uid: str) -> None:
        with self.store.lock:
            job = self.store.get(self.jobs.key, namespace, name)
            if job is None or job["metadata"]["uid"] != uid or self._finished(job):
                return
            held = of.owned(self.store, "pods", job)
            active = [pod for pod in held if of.is_active(pod)]
            failed = sum((p.get("status") or {}).get("phase") == "Failed" for p in held) + len(active)
            told = "Job was active longer than specified deadline"
            self._fail(job, dict(job.get("status") or {}), active, 0, failed, "DeadlineExceeded", told)

    def _suspend(self, job, held, status) -> None:
        for pod in held:
            if of.is_active(pod):
                self.writer.delete(
                    self.pods, pod["metadata"]["namespace"], pod["metadata"]["name"], Deletion()
                )
        status["conditions"] = of.with_condition(
            status.get("conditions") or [],
            "Suspended",
            "True",
            "JobSuspended",
            "Job suspended",
            applying.now(),
        )
        status.pop("startTime", None)
        self._write(job, status, 0, status.get("succeeded", 0), status.get("failed", 0))

    def _expire_later(self, job: dict) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return

        def remove(namespace: str, name: str, uid: str) -> None:
            held = self.store.get(self.jobs.key, namespace, name)
            if held and held["metadata"]["uid"] == uid:
                self.writer.delete(self.jobs, namespace, name, Deletion())

        self._later(job, seconds, "ttl", remove)
