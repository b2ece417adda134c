"""Use cases of drift: look for it, revert, adopt or ignore a finding, and undo what was decided."""

import logging

from django.db import transaction

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from deployments import specs
from deployments.drift.models import DriftDecision, DriftFinding
from deployments.drift.sources import source_of, sources_of
from deployments.errors import ProviderError
from deployments.models import RUNNING_TARGET, Target
from deployments.providers.base import Drift, provider_for
from deployments.services import BY_ITSELF, provider_errors
from worker.engine import database_now
from worker.models import Operation
from worker.services import operation_submit

log = logging.getLogger(__name__)

Action = DriftDecision.Action


def check_all() -> None:
    """Look at every target that serves and that nothing is at work on."""
    busy = set(Operation.objects.unfinished().values_list("subject", flat=True))
    for target in Target.objects.filter(status__in=RUNNING_TARGET).select_related("project", "release"):
        if target.subject in busy:
            continue
        try:
            drift_check(target=target)
        except ProviderError as error:
            log.info("the drift of %s is not known: %s", target.name, error)


def drift_check(*, target: Target) -> list[DriftFinding]:
    """Ask who looks after the target, and keep what is found; the findings that are not resolved.

    A source that does not answer changes nothing of what is known of it, and its error is raised after the
    others were asked.
    """
    problem, seen = None, set()
    for name, source in sources_of(target).items():
        try:
            found = source.drift()
        except ProviderError as error:
            problem = problem or error
            continue
        # What two look after, such as the namespace, is one finding.
        found = [one for one in found if (one.kind, one.name, one.field) not in seen]
        seen |= {(one.kind, one.name, one.field) for one in found}
        _keep(target, name, found)
    if problem:
        raise problem
    return list(DriftFinding.objects.filter(target=target, resolved_at=None).order_by("pk"))


def _keep(target: Target, source: str, drifts: list[Drift]) -> None:
    now = database_now()
    with transaction.atomic():
        Target.objects.select_for_update(no_key=True).get(pk=target.pk)
        rows = DriftFinding.objects.filter(target=target, source=source, resolved_at=None)
        known = {(row.kind, row.name, row.field): row for row in rows}
        for drift in drifts:
            row = known.pop((drift.kind, drift.name, drift.field), None)
            by = getattr(drift, "manager", "")
            if row is None:
                DriftFinding.objects.create(
                    target=target,
                    source=source,
                    kind=drift.kind,
                    name=drift.name,
                    field=drift.field,
                    expected=drift.expected,
                    actual=drift.actual,
                    by=by,
                    first_seen_at=now,
                    last_seen_at=now,
                )
                continue
            if row.actual != drift.actual:
                # What was let be was another value.
                row.ignored = False
            row.expected, row.actual, row.by, row.last_seen_at = drift.expected, drift.actual, by, now
            row.save()
        for row in known.values():
            row.resolved_at = now
            row.save(update_fields=["resolved_at"])


def _open(finding: DriftFinding) -> DriftFinding:
    held = (
        DriftFinding.objects.select_for_update(no_key=True, of=("self",))
        .select_related("target__project", "target__release")
        .get(pk=finding.pk)
    )
    if held.resolved_at is not None:
        raise ConflictError(f"{held.path} is as it was made by now.", code="drift_resolved")
    return held


def _decide(finding: DriftFinding, action: str, reason: str, by: str, **values) -> DriftDecision:
    if not reason.strip():
        raise InvalidError("Say why, for whoever reads it later.", field="reason")
    decision = DriftDecision.objects.create(finding=finding, action=action, reason=reason, by=by, **values)
    audit.record(
        project=finding.target.project,
        actor=by,
        action=f"drift.{action}",
        subject=finding.target_id,
        detail={
            "finding": finding.pk,
            "drift": finding.path,
            "reason": reason,
            "expected": finding.expected,
            "actual": finding.actual,
        },
    )
    return decision


def as_drift(finding: DriftFinding) -> Drift:
    """A finding as providers know it."""
    return Drift(finding.kind, finding.name, finding.field, finding.expected, finding.actual)


def drift_revert(*, finding: DriftFinding, reason: str, requested_by: str) -> tuple[DriftDecision, Operation]:
    """Put the field back to how it was made, and no other."""
    with transaction.atomic():
        held = _open(finding)
        target = held.target
        operation = operation_submit(
            project=target.project,
            kind="target.revert_drift",
            subject=target.subject,
            input={"target": target.pk, "finding": held.pk},
            created_by=requested_by,
            may_follow=BY_ITSELF,
        )
        decision = _decide(held, Action.REVERT, reason, requested_by, operation=operation.pk)
    return decision, operation


def drift_ignore(*, finding: DriftFinding, reason: str, requested_by: str) -> DriftDecision:
    """Leave the field as it is, until it changes again."""
    with transaction.atomic():
        held = _open(finding)
        if held.ignored:
            raise ConflictError(f"{held.path} is ignored already.", code="drift_ignored")
        decision = _decide(held, Action.IGNORE, reason, requested_by)
        held.ignored = True
        held.save(update_fields=["ignored"])
    return decision


def drift_adopt(*, finding: DriftFinding, reason: str, requested_by: str) -> DriftDecision:
    """Make what is there what is wanted: the spec says it from here on. ConflictError says why it cannot."""
    with transaction.atomic():
        held = _open(finding)
        rows = Target.objects.select_for_update(no_key=True, of=("self",))
        target = rows.select_related("project", "release").get(pk=held.target_id)
        with provider_errors():
            changes = dict(source_of(target, held.source).adopted(as_drift(held)))
        wanted = specs.validated_spec(provider_for(target.provider), {**target.spec, **changes})
        decision = _decide(
            held,
            Action.ADOPT,
            reason,
            requested_by,
            spec_before={key: target.spec.get(key) for key in changes},
            spec_after=changes,
        )
        _set_spec(target, wanted)
        held.resolved_at, held.ignored = database_now(), False
        held.save(update_fields=["resolved_at", "ignored"])
    return decision


def _set_spec(target: Target, spec: dict) -> None:
    target.spec = spec
    target.desired_replicas = spec.get("replicas", target.desired_replicas)
    target.save(update_fields=["spec", "desired_replicas", "updated_at"])


def drift_undo(*, decision: DriftDecision, requested_by: str) -> DriftDecision:
    """Take back that something was ignored or adopted; what was reverted is only changed by hand again."""
    with transaction.atomic():
        held = (
            DriftDecision.objects.select_for_update(no_key=True, of=("self",))
            .select_related("finding__target__project")
            .get(pk=decision.pk)
        )
        if held.action == Action.REVERT:
            raise ConflictError("What was reverted is changed back by hand alone.", code="drift_reverted")
        if held.undone_at is not None:
            raise ConflictError("This was undone already.", code="drift_undone")
        finding = held.finding
        if held.action == Action.IGNORE:
            DriftFinding.objects.filter(pk=finding.pk).update(ignored=False)
        else:
            target = Target.objects.select_for_update(no_key=True).get(pk=finding.target_id)
            if any(target.spec.get(key) != value for key, value in held.spec_after.items()):
                raise ConflictError(
                    "The spec was changed since; change it by a plan instead.", code="spec_changed"
                )
            before = {key: value for key, value in held.spec_before.items() if value is not None}
            rest = {key: value for key, value in target.spec.items() if key not in held.spec_after}
            _set_spec(target, rest | before)
        held.undone_by, held.undone_at = requested_by, database_now()
        held.save(update_fields=["undone_by", "undone_at"])
        audit.record(
            project=finding.target.project,
            actor=requested_by,
            action="drift.undo",
            subject=finding.target_id,
            detail={"finding": finding.pk, "drift": finding.path, "undone": held.action},
        )
    return held
