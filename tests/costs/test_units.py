"""Unit costs against figures worked out by hand."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from costs.units import unit_costs
from deployments.models import CollectionSize, MetricPoint, Release, Replica
from tests.costs.billing import bill, record

pytestmark = pytest.mark.django_db
SINCE, UNTIL = date(2026, 11, 1), date(2026, 11, 11)
GIB = 2**30


@pytest.fixture
def measured(project, target):
    """Ten days at 10 USD, 2 of them of collection docs; 100,000 requests a day; docs 3 GiB, more 1 GiB."""
    release = Release.objects.create(project=project, number=1, image="i:1", digest="d" * 64, created_by="t")
    replica = Replica.objects.create(target=target, release=release, status="ready", port=9100)
    rows = []
    for number in range(10):
        day = SINCE + timedelta(days=number)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        MetricPoint.objects.create(
            target=target,
            replica=replica,
            resolution_seconds=3600,
            at=at,
            covered_seconds=3600,
            requests=100_000,
        )
        for name, points, size in (("docs", 3_000_000, 3 * GIB), ("more", 1_000_000, GIB)):
            CollectionSize.objects.create(
                target=target, collection=name, resolution_seconds=3600, at=at, points=points, bytes=size
            )
        tags = {"aindusdb:target": target.name}
        rows.append(record(day, 8, Tags=tags))
        rows.append(
            record(
                day,
                2,
                ResourceId="i-2",
                Tags=tags | {"aindusdb:collection": "docs", "aindusdb:namespace": "n"},
            )
        )
        rows.append(record(day, 5, ResourceId="i-3"))
    rows.append(record(SINCE, 7, Tags=tags, BillingCurrency="EUR", ProviderName="Microsoft"))
    bill(project, rows)
    return project


def test_a_target_s_units(measured):
    euros, dollars = unit_costs(measured, SINCE, UNTIL)
    assert (euros.currency, euros.cost) == ("EUR", 7) and dollars.cost == 100
    assert dollars.requests == 10**6 and dollars.per_million_requests == 100
    # 10 a day is 304.17 a month, for 4 million vectors and 4 GiB.
    assert dollars.per_million_vectors == pytest.approx(Decimal("76.04"), abs=Decimal("0.01"))
    assert dollars.per_gib == pytest.approx(Decimal("76.04"), abs=Decimal("0.01"))


def test_collections_have_their_own_cost_or_a_share_by_bytes(measured):
    lines = {
        (one.collection, one.currency): one for one in unit_costs(measured, SINCE, UNTIL, by="collection")
    }
    docs, more = lines["docs", "USD"], lines["more", "USD"]
    assert (docs.cost, docs.basis) == (20, "attributed")
    # What names the target alone is divided among collections that no record names.
    assert (more.cost, more.basis) == (80, "share of bytes")
    assert docs.requests is None and docs.per_million_requests is None
    assert lines["docs", "EUR"].cost == Decimal("5.25") and lines["docs", "EUR"].basis == "share of bytes"


def test_namespaces_are_those_that_records_name(measured):
    (one,) = unit_costs(measured, SINCE, UNTIL, by="namespace")
    assert (one.collection, one.namespace, one.cost) == ("docs", "n", 20)
    assert one.vectors is None and one.per_gib is None
    assert unit_costs(measured, SINCE - timedelta(days=30), SINCE) == []
