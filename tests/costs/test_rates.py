"""Exchange rates: kept as they are given, found by day."""

from datetime import date
from decimal import Decimal

import pytest

from controlplane.models import Project
from costs.rates import Converter, exchange_rate_create

pytestmark = pytest.mark.django_db


def test_a_rate_holds_until_the_next_and_also_the_other_way_round():
    project = Project.objects.create(name="default")
    for day, rate in ((1, "1.25"), (10, "1.5")):
        exchange_rate_create(
            project=project,
            date=date(2026, 11, day),
            from_currency="EUR",
            to_currency="USD",
            rate=Decimal(rate),
            created_by="test",
        )
    dollars = Converter(project, "USD")
    assert dollars.rate("EUR", date(2026, 10, 31)) is None
    assert dollars.rate("EUR", date(2026, 11, 9)) == Decimal("1.25")
    assert dollars.rate("EUR", date(2027, 1, 1)) == Decimal("1.5")
    assert dollars.rate("USD", date(2000, 1, 1)) == 1
    assert dollars.rate("GBP", date(2026, 11, 9)) is None
    assert Converter(project, "EUR").rate("USD", date(2026, 11, 1)) == Decimal("0.8")
