"""New secrets for a target while it serves."""

from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError
from deployments.models import RUNNING_TARGET, Target
from deployments.services import BY_ITSELF
from deployments.workloads import is_cluster
from worker.models import Operation
from worker.services import operation_submit


def target_rotate(*, target: Target, requested_by: str) -> Operation:
    """Give the target a new key for JWTs; both keys are accepted until nobody signs with the old one."""
    with transaction.atomic():
        held = Target.objects.select_for_update(no_key=True).select_related("project").get(pk=target.pk)
        if held.status not in RUNNING_TARGET:
            raise ConflictError(
                f"{held.name} is {held.status}; a rotation needs a target that is ready.",
                code="target_not_ready",
            )
        if is_cluster(held):
            raise ConflictError(
                "The secrets of a target in a cluster are not rotated from here yet.", code="not_supported"
            )
        operation = operation_submit(
            project=held.project,
            kind="target.rotate",
            subject=held.subject,
            input={"target": held.pk},
            created_by=requested_by,
            may_follow=BY_ITSELF,
        )
        audit.record(
            project=held.project,
            actor=requested_by,
            action="target.rotate",
            subject=held.pk,
            detail={"operation": operation.pk},
        )
        return operation
