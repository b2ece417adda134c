"""Cron jobs: a job at each time of the schedule, unless suspended; on the cluster's own clock."""

from datetime import UTC, datetime, timedelta

from tests.simulators.kubernetes.controllers import pods as of
from tests.simulators.kubernetes.schema import copied
from tests.simulators.kubernetes.writing import Deletion, Options

COMPONENT = "cronjob-controller"
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def _fits(field: str, value: int, first: int) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        if span == "*":
            start, end = first, 10**6
        else:
            start = int(low)
            end = int(high) if high else (10**6 if step else start)
        if start <= value <= end and (value - start) % int(step or 1) == 0:
            return True
    return False


def next_time(schedule: str, after: datetime) -> datetime:
    """The first minute after `after` that a cron expression names."""
    minute, hour, day, month, weekday = _NAMED.get(schedule, schedule).split()
    at = after.replace(second=0, microsecond=0)
    for _ in range(366 * 24 * 60):
        at += timedelta(minutes=1)
        days = (
            _fits(day, at.day, 1),
            _fits(weekday, at.isoweekday() % 7, 0) or _fits(weekday, at.isoweekday(), 0),
        )
        either = any(days) if day != "*" and weekday != "*" else all(days)
        if _fits(minute, at.minute, 0) and _fits(hour, at.hour, 0) and _fits(month, at.month, 1) and either:
            return at
    raise ValueError(f"no time of {schedule} within a year")


class CronJobs:
    """The cron job controller."""

    def __init__(self, cluster):
        self.cluster, self.store, self.writer = cluster, cluster.store, cluster.writer
        self.cron_jobs = cluster.resources.find("batch", "v1", "cronjobs")
        self.jobs = cluster.resources.find("batch", "v1", "jobs")

    def sync(self, namespace: str, name: str) -> None:
        with self.store.lock:
            cron_job = self.store.get(self.cron_jobs.key, namespace, name)
            if cron_job is None or cron_job["metadata"].get("deletionTimestamp"):
                return
            self._account(cron_job)
            key = ("cron", cron_job["metadata"]["uid"])
            if cron_job["spec"].get("suspend"):
                self.cluster.loop.cancel(key)
                return
            now = datetime.now(UTC)
            at = next_time(cron_job["spec"]["schedule"], now)
            generation = cron_job["metadata"].get("generation")
            if self._planned().get(key) == (at, generation):
                return
            self._planned()[key] = (at, generation)
            wait = (at - now).total_seconds()
            self.cluster.loop.later(wait, key, lambda: self.fire(namespace, name, at))

    def _planned(self) -> dict:
        return self.__dict__.setdefault("_plans", {})

    def fire(self, namespace: str, name: str, at: datetime) -> None:
        """The time has come."""
        with self.store.lock:
            cron_job = self.store.get(self.cron_jobs.key, namespace, name)
            if cron_job is None or cron_job["spec"].get("suspend"):
                return
            active = [j for j in of.owned(self.store, self.jobs.key, cron_job) if not _over(j)]
            policy = cron_job["spec"].get("concurrencyPolicy")
            if active and policy == "Forbid":
                told = "Not starting job because prior execution is running and concurrency policy is Forbid"
                self.cluster.recorder.tell(cron_job, "JobAlreadyActive", told, component=COMPONENT)
            else:
                for job in active if policy == "Replace" else ():
                    self.writer.delete(self.jobs, namespace, job["metadata"]["name"], Deletion())
                self._start(cron_job, at)
            self.sync(namespace, name)

    def _start(self, cron_job: dict, at: datetime) -> None:
        meta = cron_job["metadata"]
        template = copied(cron_job["spec"]["jobTemplate"])
        name = f"{meta['name']}-{int(at.timestamp()) // 60}"
        if self.store.get(self.jobs.key, meta["namespace"], name):
            return
        given = template.get("metadata") or {}
        stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        job = {
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": dict(given.get("labels") or {}),
                "annotations": {
                    **(given.get("annotations") or {}),
                    "batch.kubernetes.io/cronjob-scheduled-timestamp": stamp,
                },
                "ownerReferences": [of.reference(cron_job)],
            },
            "spec": template["spec"],
        }
        self.writer.create(self.jobs, job, Options())
        self.cluster.recorder.tell(cron_job, "SuccessfulCreate", f"Created job {name}", component=COMPONENT)
        self._account(cron_job, scheduled=stamp)

    def _account(self, cron_job: dict, scheduled: str = "") -> None:
        meta, spec = cron_job["metadata"], cron_job["spec"]
        owned = sorted(of.owned(self.store, self.jobs.key, cron_job), key=lambda j: j["metadata"]["name"])
        for kind, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            ended = [j for j in owned if (c := of.condition(j, kind)) and c["status"] == "True"]
            for job in ended[: max(0, len(ended) - spec.get(limit, 3))]:
                self.writer.delete(self.jobs, meta["namespace"], job["metadata"]["name"], Deletion())
        status = dict(cron_job.get("status") or {})
        if scheduled:
            status["lastScheduleTime"] = scheduled
        done = [j["status"]["completionTime"] for j in owned if (j.get("status") or {}).get("completionTime")]
        if done:
            status["lastSuccessfulTime"] = max(done)
        status["active"] = [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": job["metadata"]["name"],
                "namespace": meta["namespace"],
                "uid": job["metadata"]["uid"],
            }
            for job in owned
            if not _over(job)
        ]
        if not status["active"]:
            del status["active"]
        self.writer.status(self.cron_jobs, cron_job, status)


def _over(job: dict) -> bool:
    return any((c := of.condition(job, kind)) and c["status"] == "True" for kind in ("Complete", "Failed"))
