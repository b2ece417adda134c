"""Use cases of recommendations: find them, accept, dismiss, snooze, take that back; and what accepting one
saved.
"""

import logging
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError, ProblemError
from controlplane.ids import decode
from controlplane.selectors import by_id
from costs.models_planning import Recommendation, RecommendationStatus
from costs.recommendations_facts import DAYS_A_MONTH, gather
from costs.recommendations_overlap import without_overlap
from costs.recommendations_rules import find_all
from costs.recommendations_sources import Found, sources
from costs.records import live_loads
from costs.spend import UNSETTLED_DAYS
from deployments.errors import ProviderError
from deployments.models import RUNNING_TARGET, Plan
from deployments.services import target_plan
from worker.models import Operation
from worker.services import operation_submit

log = logging.getLogger(__name__)

Status = RecommendationStatus
VERBS = {
    Status.ACCEPTED: "accept",
    Status.DISMISSED: "dismiss",
    Status.SNOOZED: "snooze",
    Status.OPEN: "reopen",
}
BASE_DAYS = 14
LEAST_DAYS_AFTER = 3
LONGEST_SNOOZE_DAYS = 365


def recommendations(project) -> QuerySet[Recommendation]:
    """A project's recommendations with their targets."""
    return Recommendation.objects.filter(project=project).select_related("target", "project")


def recommendation_find(project, reference: str) -> Recommendation:
    """A recommendation by id; NotFoundError."""
    return by_id(recommendations(project), "rcm", reference, what="recommendation")


def recommendations_search(*, project, requested_by: str) -> Operation:
    """Look for recommendations now, as an operation."""
    return operation_submit(
        project=project,
        kind="recommendations.find",
        subject=f"recommendations:{project.pk}",
        created_by=requested_by,
    )


def recommendations_find(*, project, today: date | None = None) -> dict:
    """Look at the records, the metrics and the clouds' recommenders; {found, new, gone, sources_failed}.

    What people decided stays: a dismissed one stays so while it is found, a snoozed one until its day.
    """
    today = today or timezone.now().date()
    found = find_all(gather(project, today))
    failed = {}
    for source in sources():
        try:
            found += list(source.recommendations(project.pk))
        except ProviderError as error:
            log.warning("recommender %s failed: %s", source.name, error)
            failed[source.name] = str(error)
    return recommendations_store(project=project, found=found) | {"sources_failed": failed}


def recommendations_store(*, project, found: list[Found]) -> dict:
    """Keep what was found as the present state; {found, new, gone}."""
    merged = _merged(found)
    now = timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"recommendations:{project.pk}"]
            )
        held = {(one.type, one.resource, one.currency): one for one in recommendations(project)}
        counted = without_overlap(merged)
        rows = [
            _store(project, one, held.get((one.type, one.resource, one.currency)), now) for one, _ in counted
        ]
        for row, (_, blocked) in zip(rows, counted, strict=True):
            row.superseded_by = "" if blocked is None else rows[blocked].pk
            row.save()
        seen = {row.pk for row in rows}
        lost = [
            one
            for one in held.values()
            if one.pk not in seen and one.status not in (Status.GONE, Status.ACCEPTED)
        ]
        Recommendation.objects.filter(pk__in=[one.pk for one in lost]).update(
            status=Status.GONE, superseded_by=""
        )
    new = sum((one.type, one.resource, one.currency) not in held for one in merged)
    return {"found": len(merged), "new": new, "gone": len(lost)}


def _merged(found: list[Found]) -> list[Found]:
    """One of each type, resource and currency: the one that saves more."""
    best: dict[tuple, Found] = {}
    for one in found:
        key = (one.type, one.resource, one.currency)
        if key not in best or one.amount > best[key].amount:
            best[key] = one
    return list(best.values())


def _store(project, found: Found, held: Recommendation | None, now: datetime) -> Recommendation:
    row = held or Recommendation(
        project=project, type=found.type, resource=found.resource, currency=found.currency
    )
    row.cloud, row.source, row.region = found.cloud, found.source, found.region
    row.resource_name, row.target_id = found.resource_name, found.target or None
    row.amount, row.cost = _money(found.amount), _money(found.cost)
    row.confidence, row.summary = found.confidence, found.summary[:500]
    row.implementation = {
        "steps": list(found.steps),
        "effort": found.effort,
        "restart": found.restart,
        "reversible": found.reversible,
        "spec": found.spec,
    }
    row.evidence = found.evidence
    row.seen_at = now
    if found.refused:
        row.status, row.reason = Status.REFUSED, found.refused[:500]
    elif row.status in (Status.GONE, Status.REFUSED) or (
        row.status == Status.SNOOZED and row.snoozed_until and row.snoozed_until <= now
    ):
        row.status, row.reason, row.snoozed_until = Status.OPEN, "", None
    row.save()
    return row


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.000001"))


def _decide(
    recommendation: Recommendation, allowed: tuple[str, ...], by: str, verb: str, **values
) -> Recommendation:
    """Change a recommendation's status from one of `allowed`, by whoever comes first."""
    values |= {"decided_by": by, "decided_at": timezone.now()}
    with transaction.atomic():
        rows = Recommendation.objects.filter(pk=recommendation.pk, status__in=allowed)
        if not rows.update(**values):
            now = Recommendation.objects.get(pk=recommendation.pk).status
            raise ConflictError(
                f"This recommendation is {Status(now).label.lower()}; it cannot be {verb}.",
                code="already_decided",
            )
        audit.record(
            project=recommendation.project,
            actor=by,
            action=f"recommendation.{VERBS[values['status']]}",
            subject=recommendation.pk,
            detail={
                "type": recommendation.type,
                "resource": recommendation.resource,
                "saves": f"{recommendation.amount} {recommendation.currency} a month",
                "reason": values.get("reason", ""),
                "plan": values.get("plan", ""),
            },
        )
    recommendation.refresh_from_db()
    return recommendation


def recommendation_accept(
    *, recommendation: Recommendation, accepted_by: str
) -> tuple[Recommendation, Plan | None]:
    """Say that it is carried out; where the target can do it by a spec, with a plan to look at and apply.

    What the resource cost until now is remembered, to measure afterwards what was saved.
    """
    plan = None
    patch = recommendation.implementation.get("spec") or {}
    target = recommendation.target
    if (
        recommendation.status in (Status.OPEN, Status.SNOOZED)
        and patch
        and target
        and target.status in RUNNING_TARGET
    ):
        try:
            plan = target_plan(target=target, spec={**target.spec, **patch}, created_by=accepted_by)
        except ProblemError as error:
            raise ConflictError(
                f"No plan could be made of it: {error.detail}", code="plan_refused", errors=error.errors
            ) from error
    until = timezone.now().date() - timedelta(days=UNSETTLED_DAYS)
    before = _daily_mean(recommendation, until - timedelta(days=BASE_DAYS), until)
    accepted = _decide(
        recommendation,
        (Status.OPEN, Status.SNOOZED),
        accepted_by,
        "accepted",
        status=Status.ACCEPTED,
        reason="",
        snoozed_until=None,
        plan=plan.pk if plan else "",
        cost_before=None if before is None else before[0],
    )
    return accepted, plan


def recommendation_dismiss(
    *, recommendation: Recommendation, reason: str, dismissed_by: str
) -> Recommendation:
    """Not to be shown again, and why."""
    if not reason.strip():
        raise InvalidError("Say why, so that nobody looks at it again.", field="reason")
    return _decide(
        recommendation,
        (Status.OPEN, Status.SNOOZED),
        dismissed_by,
        "dismissed",
        status=Status.DISMISSED,
        reason=reason.strip()[:500],
        snoozed_until=None,
    )


def recommendation_snooze(
    *, recommendation: Recommendation, days: int, snoozed_by: str, reason: str = ""
) -> Recommendation:
    """Not to be shown for some days."""
    if not 1 <= days <= LONGEST_SNOOZE_DAYS:
        raise InvalidError(f"Snooze for 1 to {LONGEST_SNOOZE_DAYS} days.", field="days")
    return _decide(
        recommendation,
        (Status.OPEN, Status.SNOOZED),
        snoozed_by,
        "snoozed",
        status=Status.SNOOZED,
        reason=reason.strip()[:500],
        snoozed_until=timezone.now() + timedelta(days=days),
    )


def recommendation_reopen(*, recommendation: Recommendation, reopened_by: str) -> Recommendation:
    """Take back that it was accepted, dismissed or snoozed; a plan that was made for it stays as it is."""
    return _decide(
        recommendation,
        (Status.ACCEPTED, Status.DISMISSED, Status.SNOOZED),
        reopened_by,
        "opened again",
        status=Status.OPEN,
        reason="",
        snoozed_until=None,
        plan="",
        cost_before=None,
    )


def open_savings(project) -> dict[str, Decimal]:
    """{currency: saved a month} of the open ones that count."""
    sums: dict[str, Decimal] = {}
    rows = Recommendation.objects.filter(project=project, status=Status.OPEN, superseded_by="")
    for currency, amount in rows.values_list("currency", "amount"):
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    return sums


def realised(recommendation: Recommendation, today: date | None = None) -> dict | None:
    """{amount a month, currency, days} that an accepted one saved by the bill; None before 3 settled days
    of it.

    Days from the one after it was accepted count, up to the present; a resource that is billed no more saves
    all.
    """
    if recommendation.status != Status.ACCEPTED or recommendation.cost_before is None:
        return None
    today = today or timezone.now().date()
    since = recommendation.decided_at.date() + timedelta(days=1)
    until = today - timedelta(days=UNSETTLED_DAYS)
    days = (until - since).days
    if days < LEAST_DAYS_AFTER:
        return None
    after = _daily_mean(recommendation, since, until, whole=True)
    saved = recommendation.cost_before - (after[0] if after else Decimal(0))
    return {"amount": saved * DAYS_A_MONTH, "currency": recommendation.currency, "days": days}


def _daily_mean(
    one: Recommendation, since: date, until: date, *, whole: bool = False
) -> tuple[Decimal, int] | None:
    """(cost a day, days with cost) of what a recommendation is about; None when nothing was billed.

    With `whole` over every day of the span, also those without cost.
    """
    loads = live_loads(one.project, since=since - timedelta(days=31))
    if one.target_id and one.type in ("idle", "autoscaler_bounds"):
        what = "FROM costs_daily WHERE load_id = ANY(%s) AND day >= %s AND day < %s AND target = %s"
        day, subject = "day", one.target_id
        decode("tgt", one.target_id)
    elif one.type == "commitment":
        what = (
            'FROM costs_record WHERE load_id = ANY(%s) AND "ChargePeriodStart" >= %s'
            ' AND "ChargePeriodStart" < %s AND "ResourceId" = ANY(%s)'
        )
        day, subject = '"ChargePeriodStart"::date', list(one.evidence.get("resources", ()))
    else:
        what = (
            'FROM costs_record WHERE load_id = ANY(%s) AND "ChargePeriodStart" >= %s'
            ' AND "ChargePeriodStart" < %s AND "ResourceId" = %s'
        )
        day, subject = '"ChargePeriodStart"::date', one.resource
    with connection.cursor() as cursor:
        cursor.execute(
            f'SELECT sum("EffectiveCost"), count(DISTINCT {day}) {what} AND "BillingCurrency" = %s',
            [loads, since, until, subject, one.currency],
        )
        total, days = cursor.fetchone()
    if not days:
        return None
    return total / ((until - since).days if whole else days), days
