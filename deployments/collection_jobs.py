"""Long work on a target's collections, started as an operation so that it is seen, followed and cancelled."""

from urllib.parse import urlsplit, urlunsplit

from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from deployments.models import RUNNING_TARGET, Target
from worker.models import Operation
from worker.services import operation_submit

KINDS = ("index.build", "points.import", "points.export", "recall.measure")
# Of these a collection has one at a time; others queue behind those of their kind.
ONE_AT_A_TIME = ("index.build", "recall.measure")


def without_credentials(body: dict) -> dict:
    """The body as it may be shown: of a URL neither the user nor the query, which may hold a signature."""
    url = body.get("url")
    if not isinstance(url, str):
        return body
    try:
        found = urlsplit(url)
    except ValueError:
        return body | {"url": "***"}
    query = "***" if found.query else ""
    return body | {"url": urlunsplit((found.scheme, found.netloc.rpartition("@")[2], found.path, query, ""))}


def collection_job_start(
    *,
    target: Target,
    collection: str,
    job: str,
    body: dict | None = None,
    requested_by: str,
    retry_of: Operation | None = None,
) -> Operation:
    """Have the target do a job of this kind with the body of its call; the operation that follows it.

    OperationInProgressError while the collection's index is being built, or its recall measured, already.
    """
    body = body or {}
    shown = without_credentials(body)
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
            input={"target": target.pk, "collection": collection, "job": job, "body": shown},
            created_by=requested_by,
            exclusive=job in ONE_AT_A_TIME,
            retry_of=retry_of,
        )
        if shown != body:
            # Everybody who may look at an operation sees its input; its state is the handler's alone.
            operation.state = {"body": body}
            operation.save(update_fields=["state"])
        audit.record(
            project=target.project,
            actor=requested_by,
            action="collection.job.start",
            subject=target.pk,
            detail={"collection": collection, "job": job, "operation": operation.pk},
        )
    return operation
