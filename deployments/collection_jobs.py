"""Long work on a target's collections, started as an operation so that it is seen, followed and cancelled."""

from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from deployments.models import RUNNING_TARGET, Target
from worker.models import Operation
from worker.services import operation_submit

KINDS = ("index.build", "points.import", "points.export", "recall.measure")
# Of these a collection has one at a time; others queue behind those of their kind.
ONE_AT_A_TIME = ("index.build", "recall.measure")


def collection_job_start(
    *, target: Target, collection: str, job: str, body: dict | None = None, requested_by: str
) -> Operation:
    """Have the target do a job of this kind with the body of its call; the operation that follows it.

    OperationInProgressError while the collection's index is being built, or its recall measured, already.
    """
    if job not in KINDS:
        raise InvalidError(f"The job is one of {', '.join(KINDS)}.", field="job")
    if target.status not in RUNNING_TARGET:
        raise ConflictError(
            f"{target.name} is {target.status}; its collections are worked on when it is ready.",
            code="target_not_ready",
        )
    with transaction.atomic():
        operation = operation_submit(
            project=target.project,
            kind="collection.job",
            subject=f"{target.subject}/{collection}/{job}",
            input={"target": target.pk, "collection": collection, "job": job, "body": body or {}},
            created_by=requested_by,
            exclusive=job in ONE_AT_A_TIME,
        )
        audit.record(
            project=target.project,
            actor=requested_by,
            action="collection.job.start",
            subject=target.pk,
            detail={"collection": collection, "job": job, "operation": operation.pk},
        )
    return operation
