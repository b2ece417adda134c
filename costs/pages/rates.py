"""The page of exchange rates."""

from datetime import date
from decimal import Decimal, InvalidOperation

from django.contrib import messages
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from controlplane.errors import InvalidError, ProblemError
from controlplane.pages.access import actor, page
from controlplane.pages.forms import field_errors
from controlplane.pages.lookup import row_or_404
from controlplane.pages.paging import paginate
from costs import rates
from costs.models import ExchangeRate

FIELDS = ("date", "from_currency", "to_currency", "rate")


def _given(data) -> dict:
    try:
        day = date.fromisoformat(data.get("date", ""))
    except ValueError:
        raise InvalidError("Give a day, as 2026-11-01.", field="date") from None
    try:
        rate = Decimal(data.get("rate", "").strip())
    except InvalidOperation:
        raise InvalidError("Give a number, as 1.0845.", field="rate") from None
    if not rate.is_finite():
        raise InvalidError("Give a number, as 1.0845.", field="rate")
    return {"date": day, "rate": rate} | {
        name: data.get(name, "").strip() for name in ("from_currency", "to_currency")
    }


@page("cost.read", post="cost.rate.manage")
def index(request):
    """The project's rates, and a form for one more."""
    errors = {}
    if request.method == "POST":
        try:
            made = rates.exchange_rate_create(
                project=request.project, created_by=actor(request), **_given(request.POST)
            )
        except ProblemError as error:
            errors = field_errors(error, FIELDS)
        else:
            messages.success(request, f"{made} is kept.")
            return redirect("cost-rates")
    found = paginate(
        rates.exchange_rates(request.project),
        request.GET,
        sorts={"date": "date", "from": "from_currency", "to": "to_currency"},
        default="-date",
    )
    context = {"section": "costs", "tab": "rates", "page": found, "errors": errors, "given": request.POST}
    return render(request, "costs/rates.html", context, status=422 if errors else 200)


@page("cost.rate.manage")
@require_POST
def delete(request, rate_id):
    found = row_or_404(ExchangeRate, project=request.project, pk=rate_id)
    rates.exchange_rate_delete(rate=found, deleted_by=actor(request))
    messages.success(request, "The rate is deleted.")
    return redirect("cost-rates")
