"""Exchange rates: what the user says a currency was worth from a day on. Nothing else converts money."""

from datetime import date
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from controlplane import audit
from controlplane.errors import ConflictError, InvalidError
from controlplane.selectors import by_id
from controlplane.validation import clean
from costs.models import ExchangeRate


def exchange_rates(project) -> QuerySet[ExchangeRate]:
    """A project's rates."""
    return ExchangeRate.objects.filter(project=project)


def exchange_rate_find(project, reference: str) -> ExchangeRate:
    """A rate by id; NotFoundError."""
    return by_id(exchange_rates(project), "fxr", reference, what="exchange rate")


def exchange_rate_create(
    *, project, date: date, from_currency: str, to_currency: str, rate: Decimal, created_by: str
) -> ExchangeRate:
    """A rate from a day on; ConflictError when the pair has one of that day."""
    made = ExchangeRate(
        project=project,
        date=date,
        from_currency=from_currency.upper(),
        to_currency=to_currency.upper(),
        rate=rate,
        created_by=created_by,
    )
    if made.from_currency == made.to_currency:
        raise InvalidError("A rate is between two currencies.", field="to_currency")
    if not rate > 0:
        raise InvalidError("A rate is more than 0.", field="rate")
    clean(made)
    try:
        with transaction.atomic():
            made.save(force_insert=True)
            audit.record(
                project=project,
                actor=created_by,
                action="cost.rate.create",
                subject=made.pk,
                detail={"rate": str(made)},
            )
    except IntegrityError:
        raise ConflictError(
            f"There is a rate from {made.from_currency} to {made.to_currency} of {date}; delete it first.",
            code="rate_exists",
            field="date",
        ) from None
    return made


def exchange_rate_delete(*, rate: ExchangeRate, deleted_by: str) -> None:
    """Delete a rate; reports are converted by the one before it from then on."""
    with transaction.atomic():
        if ExchangeRate.objects.filter(pk=rate.pk).delete()[0]:
            audit.record(
                project=rate.project,
                actor=deleted_by,
                action="cost.rate.delete",
                subject=rate.pk,
                detail={"rate": str(rate)},
            )


class Converter:
    """Converts amounts into one currency by a project's dated rates.

    A pair's rate holds from its day until the pair's next one; a rate the other way round serves as its
    reciprocal. There are no chains over a third currency: what no rate tells of is not converted.
    """

    def __init__(self, project, currency: str):
        self.currency = currency
        self._rates: dict[str, list[tuple[date, Decimal]]] = {}
        rows = ExchangeRate.objects.filter(project=project).order_by("date")
        reversed_rates: dict[str, list[tuple[date, Decimal]]] = {}
        for row in rows:
            if row.to_currency == currency:
                self._rates.setdefault(row.from_currency, []).append((row.date, row.rate))
            elif row.from_currency == currency:
                reversed_rates.setdefault(row.to_currency, []).append((row.date, 1 / row.rate))
        for other, rates in reversed_rates.items():
            self._rates.setdefault(other, rates)

    def rate(self, currency: str, day: date) -> Decimal | None:
        """What one unit of a currency was worth on a day; None when no rate tells."""
        if currency == self.currency:
            return Decimal(1)
        found = None
        for since, rate in self._rates.get(currency, []):
            if since > day:
                break
            found = rate
        return found
