"""collection.job: long work on a collection, which the target does itself; here it is started and followed.

The control plane may reach a target's API alone, so the work and its state are the target's. A try of
`start` that died may have started the job: what the target's newest job was is remembered before the call,
so that the next try finds what is newer and alike instead of starting a second one.
"""

from functools import cached_property

from controlplane.errors import NotFoundError, ProblemError
from deployments.collection_jobs import collection_job_start
from deployments.models import Target, TargetStatus
from deployments.operations.base import TargetOperation
from deployments.target_api import TargetApi, TargetUnreachableError, collection_path
from worker.engine import database_now
from worker.handlers import StepError, operation
from worker.outcomes import Cancelled, Done, Fail, Next, Outcome, Wait

# Kind of the target's job: (method's path below the collection, what it is called).
STARTS = {
    "index.build": ("index", "Index build of {}"),
    "points.import": ("import", "Import into {}"),
    "points.export": ("export", "Export of {}"),
    "recall.measure": ("recall", "Recall measurement of {}"),
}
ENDED = ("succeeded", "failed", "cancelled")
# Polls of a job: each second at first, seldom when it runs for long.
POLL_SECONDS = 1.0
POLL_SECONDS_MOST = 5.0
AWAY_SECONDS = 5.0
LOOKED_THROUGH = 200
TARGET_GONE = (TargetStatus.DESTROYING, TargetStatus.DESTROYED)


@operation("collection.job", first="start", label="Collection job", deadline_seconds=24 * 3600)
class CollectionJob(TargetOperation):
    @classmethod
    def title(cls, operation) -> str:
        asked = operation.input
        return STARTS[asked["job"]][1].format(asked["collection"])

    @cached_property
    def api(self) -> TargetApi:
        return TargetApi(self.target, subject=self.operation.created_by, role="operator")

    @property
    def body(self) -> dict:
        """What is sent, with the credentials that the input leaves out."""
        return self.state.get("body", self.input["body"])

    @classmethod
    def resubmit(cls, operation, requested_by: str):
        asked = operation.input
        return collection_job_start(
            target=Target.objects.get(pk=asked["target"]),
            collection=asked["collection"],
            job=asked["job"],
            body=operation.state.get("body", asked["body"]),
            requested_by=requested_by,
            retry_of=operation,
        )

    def start(self) -> Outcome:
        asked = self.input
        if self.target.status in TARGET_GONE:
            return self._target_is_gone()
        try:
            if "newest" not in self.state:
                self.remember(newest=next((job["id"] for job in self._jobs(1)), ""))
                job = None
            else:
                job = self._started_before()
            if job is None:
                path = f"{collection_path(asked['collection'])}/{STARTS[asked['job']][0]}"
                job = self.api.call("POST", path, self.body, timeout=30)
        except TargetUnreachableError as error:
            raise StepError(error.detail, code=error.code) from error
        except ProblemError as error:
            return Fail(refusal(error), code=error.code, remedy="Mend what was asked for and start it again.")
        self.state["job"] = job["id"]
        return Next(self.follow, f"The target does it as {job['id']}", {"job": job["id"]})

    def follow(self) -> Outcome:
        try:
            job = self.api.call("GET", f"jobs/{self.state['job']}")
        except TargetUnreachableError as error:
            if self.target.status in TARGET_GONE:
                return self._target_is_gone()
            return Wait(AWAY_SECONDS, f"the target to answer again: {error.detail}", self.operation.percent)
        except NotFoundError:
            return Fail(
                f"The job is gone: {self.input['collection']} was deleted meanwhile.", code="collection_gone"
            )
        if job["state"] not in ENDED:
            waiting = "other jobs of the target" if job["state"] == "queued" else phase_of(job)
            return Wait(self._poll_seconds(), waiting, int(job.get("percent") or 0))
        if job["state"] == "failed":
            return Fail(job["error"] or "The target does not say why.", code="job_failed")
        if job["state"] == "cancelled":
            return Cancelled("The job was cancelled on the target.")
        return Done({"job": job["id"], **(job.get("result") or {})}, told(job))

    def cancel(self) -> Outcome:
        try:
            job_id = self.state.get("job")
            if job_id is None and "newest" in self.state:
                found = self._started_before()
                job_id = found and found["id"]
            if job_id is None:
                return Cancelled("Nothing had been started.")
            job = self.api.call("POST", f"jobs/{job_id}/cancel")
        except TargetUnreachableError as error:
            if self.target.status in TARGET_GONE:
                return Cancelled("The target is gone, and the job with it.")
            raise StepError(error.detail, code=error.code) from error
        except ProblemError as error:
            return Cancelled(f"The target had nothing to stop: {error.detail}")
        return Cancelled(f"{job['id']} was stopped on the target.")

    def _poll_seconds(self) -> float:
        running = (database_now() - self.operation.step_started_at).total_seconds()
        return min(POLL_SECONDS_MOST, max(POLL_SECONDS, running / 60))

    def _jobs(self, limit: int) -> list[dict]:
        return self.api.call("GET", "jobs", limit=limit)["items"]

    def _started_before(self) -> dict | None:
        """The job that an earlier try of this operation started, if it did."""
        asked = self.input
        for job in self._jobs(LOOKED_THROUGH):
            if job["id"] <= self.state["newest"]:
                return None
            # The target may keep an address without the credentials in it.
            told = {key: value for key, value in asked["body"].items() if key != "url"}
            alike = all(job["params"].get(key, value) == value for key, value in told.items())
            if job["kind"] == asked["job"] and job["collection"] == asked["collection"] and alike:
                return job
        return None

    def _target_is_gone(self) -> Fail:
        return Fail(f"{self.target.name} was destroyed, and its data with it.", code="target_gone")


def refusal(error: ProblemError) -> str:
    """Why the target refused, with the fields it names; in plain words when its release has no such call."""
    if error.code == "unknown_address":
        return "The release that this target runs does not serve this yet: roll out a newer one."
    named = [f"{one['field']}: {one['message']}" for one in error.errors if one["field"]]
    return " ".join(named) or error.detail


def phase_of(job: dict) -> str:
    """What a running job is at, as a phrase that changes seldom."""
    phase = job.get("phase")
    return f"the target, which is {phase}" if phase else "the target to do it"


def told(job: dict) -> str:
    """A finished job in a sentence."""
    result = job.get("result") or {}
    rows, recall = result.get("rows"), result.get("recall")
    if job["kind"] == "recall.measure" and isinstance(recall, int | float):
        return f"Recall is {recall:.4f}"
    if isinstance(rows, int):
        return f"Done, {rows:,} rows"
    return "Done"
