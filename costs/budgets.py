"""Use cases of budgets: make and change them, see how they stand, and alert once a threshold and period."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import JSONField, QuerySet
from django.utils import timezone

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.selectors import by_id_or_name
from controlplane.validation import clean
from costs.models_planning import AlertChannel, Budget, BudgetAlert
from costs.spend import Spend, has_records, spend
from worker.services import operation_submit

FIELDS = (
    *(
        "name",
        "scope",
        "target",
        "cloud",
        "amount",
        "currency",
        "period",
        "measure",
        "thresholds",
        "channels",
    ),
    "enabled",
)
MOST_THRESHOLDS = 10
MOST_PERCENT = 1000
MONTHS = {"month": 1, "quarter": 3, "year": 12}
CURRENCY = re.compile(r"\A[A-Z]{3}\Z")


@dataclass(frozen=True)
class Standing:
    """How a budget stands in its present period."""

    budget: Budget
    spend: Spend

    def percent(self, on: str) -> Decimal | None:
        """What was spent (`actual`) or will be (`forecast`), in per cent of the amount."""
        seen = self.spend.actual if on == "actual" else self.spend.forecast
        return None if seen is None else 100 * seen / self.budget.amount

    @property
    def state(self) -> str:
        """exceeded, at_risk (the forecast is above), ok, or no_data."""
        if self.spend.until is None:
            return "no_data"
        if self.spend.actual > self.budget.amount:
            return "exceeded"
        if self.spend.forecast is not None and self.spend.forecast > self.budget.amount:
            return "at_risk"
        return "ok"


def budgets(project) -> QuerySet[Budget]:
    """A project's budgets."""
    return Budget.objects.filter(project=project).select_related("target", "project")


def budget_find(project, reference: str) -> Budget:
    """A budget by id or name; NotFoundError."""
    return by_id_or_name(budgets(project), "bud", reference, what="budget")


def period_of(kind: str, day: date) -> tuple[date, date]:
    """(first day, first day after) of the month, quarter or year that a day is in."""
    months = MONTHS[kind]
    first = date(day.year, (day.month - 1) // months * months + 1, 1)
    following = first.month - 1 + months
    return first, date(first.year + following // 12, following % 12 + 1, 1)


def standing(budget: Budget, today: date | None = None) -> Standing:
    """How a budget stands on a day."""
    today = today or timezone.now().date()
    since, end = period_of(budget.period, today)
    return Standing(
        budget,
        spend(
            budget.project,
            since,
            end,
            today,
            currency=budget.currency,
            measure=budget.measure,
            target=budget.target_id or "",
            cloud=budget.cloud,
        ),
    )


def checked_thresholds(thresholds) -> list[dict]:
    """[{on, percent}] in order and once each; InvalidError."""
    if not isinstance(thresholds, list) or len(thresholds) > MOST_THRESHOLDS:
        raise InvalidError(f"Give up to {MOST_THRESHOLDS} thresholds.", field="thresholds")
    found = set()
    for place, one in enumerate(thresholds):
        at = f"thresholds.{place}"
        if not isinstance(one, dict) or one.get("on") not in ("actual", "forecast"):
            raise InvalidError('A threshold is on "actual" or "forecast".', field=f"{at}.on")
        percent = one.get("percent")
        if not isinstance(percent, int) or isinstance(percent, bool) or not 0 < percent <= MOST_PERCENT:
            raise InvalidError(f"Per cent are whole, from 1 to {MOST_PERCENT}.", field=f"{at}.percent")
        found.add((percent, one["on"]))
    return [{"on": on, "percent": percent} for percent, on in sorted(found)]


def _apply(budget: Budget, values: dict) -> list[AlertChannel] | None:
    channels = values.pop("channels", None)
    if "thresholds" in values:
        values["thresholds"] = checked_thresholds(values["thresholds"])
    for name, value in values.items():
        setattr(budget, name, value)
    if budget.scope != "target":
        if values.get("target"):
            raise InvalidError("Only a budget of scope `target` names one.", field="target")
        budget.target = None
    elif budget.target is None:
        raise InvalidError("Name the target that this budget is of.", field="target")
    if budget.scope != "cloud":
        if values.get("cloud"):
            raise InvalidError("Only a budget of scope `cloud` names one.", field="cloud")
        budget.cloud = ""
    elif not budget.cloud:
        raise InvalidError("Name the cloud as its bill does, such as AWS.", field="cloud")
    if budget.amount is None or not budget.amount > 0:
        raise InvalidError("The amount is more than 0.", field="amount")
    json_fields = {field.name for field in budget._meta.fields if isinstance(field, JSONField)}
    clean(budget, exclude=json_fields)
    return channels


def _save(budget: Budget, channels: list[AlertChannel] | None, by: str, action: str, **kwargs) -> None:
    try:
        with transaction.atomic():
            budget.save(**kwargs)
            if channels is not None:
                budget.channels.set(channels)
            audit.record(
                project=budget.project,
                actor=by,
                action=action,
                subject=budget.pk,
                detail={
                    "name": budget.name,
                    "amount": f"{budget.amount} {budget.currency} a {budget.period}",
                    "thresholds": budget.thresholds,
                },
            )
    except IntegrityError:
        raise ConflictError(
            f"A budget named {budget.name} exists already.", code="name_taken", field="name"
        ) from None


def budget_create(*, project, created_by: str, **values) -> Budget:
    """A new budget of the fields in FIELDS; its thresholds are looked at by the next watch."""
    values.setdefault("thresholds", [{"on": "actual", "percent": 100}, {"on": "forecast", "percent": 100}])
    budget = Budget(project=project, created_by=created_by)
    channels = _apply(budget, values)
    _save(budget, channels, created_by, "budget.create", force_insert=True)
    return budget


def budget_update(*, budget: Budget, updated_by: str, **values) -> Budget:
    """Change some of the fields in FIELDS."""
    channels = _apply(budget, values)
    _save(budget, channels, updated_by, "budget.update")
    return budget


def budget_delete(*, budget: Budget, deleted_by: str) -> None:
    """Delete a budget with its past alerts."""
    with transaction.atomic():
        audit.record(
            project=budget.project,
            actor=deleted_by,
            action="budget.delete",
            subject=budget.pk,
            detail={"name": budget.name},
        )
        budget.delete()


def budgets_watch(today: date | None = None) -> list[BudgetAlert]:
    """Alert on every threshold that is reached and was not alerted on in its period; the new alerts."""
    made = []
    for budget in Budget.objects.filter(enabled=True).select_related("project", "target").order_by("pk"):
        if has_records(budget.project):
            made += budget_check(budget=budget, today=today)
    return made


def budget_check(*, budget: Budget, today: date | None = None) -> list[BudgetAlert]:
    """The same for one budget."""
    now = standing(budget, today)
    reached = [
        one
        for one in budget.thresholds
        if (percent := now.percent(one["on"])) is not None and percent >= one["percent"]
    ]
    known = set(
        BudgetAlert.objects.filter(budget=budget, period_start=now.spend.since).values_list("on", "percent")
    )
    return [
        alert
        for one in reached
        if (one["on"], one["percent"]) not in known and (alert := _alert(budget, now, **one))
    ]


def _alert(budget: Budget, now: Standing, on: str, percent: int) -> BudgetAlert | None:
    """The alert with an operation for each channel, in one transaction; None when another watch was
    faster.
    """
    seen = now.spend.actual if on == "actual" else now.spend.forecast
    try:
        with transaction.atomic():
            alert = BudgetAlert.objects.create(
                budget=budget,
                period_start=now.spend.since,
                on=on,
                percent=percent,
                seen=seen,
                amount=budget.amount,
                currency=budget.currency,
            )
            for channel in budget.channels.filter(enabled=True).order_by("pk"):
                operation = operation_submit(
                    project=budget.project,
                    kind="budget.alert",
                    subject=f"alert:{alert.pk}/{channel.pk}",
                    input={"alert": alert.pk, "channel": channel.pk},
                    created_by="system",
                )
                alert.operations[channel.pk] = operation.pk
            alert.save(update_fields=["operations"])
            return alert
    except IntegrityError:
        return None
