"""Recommendations: each rule on a bill of its own, overlaps, decisions, and the saving measured
afterwards.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from controlplane.errors import ConflictError, InvalidError
from controlplane.models import AuditEntry
from costs import recommendations as services
from costs import recommendations_sources
from costs.models_planning import Recommendation
from costs.recommendations_facts import gather
from costs.recommendations_overlap import without_overlap
from costs.recommendations_rules import find_all
from costs.recommendations_sources import Found
from deployments.errors import Transient
from deployments.models import CollectionSize, MetricPoint, Plan, Release, Replica, Target
from tests.costs.billing import bill, record, run

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 21)
DAYS = [date(2026, 11, 21) - timedelta(days=back) for back in range(1, 31)]
GIB = 2**30


def month(cost, days=DAYS, **columns):
    return [record(day, cost, **columns) for day in days]


def found_in(project, today=TODAY):
    return {(one.type, one.resource): one for one in find_all(gather(project, today))}


def measure(target, *, requests: int, memory=GIB // 2, points: int = 0, size: int = 0, days: int = 14):
    """Hourly metrics of a target: requests an hour, memory of its replicas, and one collection's size."""
    release, _ = Release.objects.get_or_create(
        project=target.project, number=1, defaults={"image": "i:1", "digest": "d" * 64, "created_by": "t"}
    )
    replica = Replica.objects.create(
        target=target, release=release, status="ready", port=9100 + Replica.objects.count()
    )
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    hours = [midnight - timedelta(hours=back) for back in range(1, days * 24 + 1)]
    MetricPoint.objects.bulk_create(
        MetricPoint(
            target=target,
            replica=replica,
            resolution_seconds=3600,
            at=at,
            covered_seconds=3600,
            requests=requests,
            memory_bytes=memory,
        )
        for at in hours
    )
    if points:
        CollectionSize.objects.bulk_create(
            CollectionSize(
                target=target, collection="docs", resolution_seconds=3600, at=at, points=points, bytes=size
            )
            for at in hours
        )


def node(sku="m6g.xlarge", resource="i-1", cost="3.696", **more):
    details = {"InstanceType": sku}
    return month(
        cost, ResourceId=resource, SkuPriceDetails=details, ChargeDescription="On-demand Linux", **more
    )


def test_spot_is_for_nodes_beyond_the_first_and_above_thirty_per_cent(project):
    tags = {"aws:eks:cluster-name": "prod"}
    bill(
        project,
        [
            *node(resource="i-1", Tags=tags),
            *node(resource="i-2", Tags=tags),
            *node(resource="i-3", Tags=tags, PricingCategory="Dynamic"),
            *node(resource="i-4"),
            *node("m6i.xlarge", resource="i-5", Tags=tags),
        ],
    )
    found = found_in(project)
    spots = [resource for kind, resource in found if kind == "spot"]
    # i-1 stays on demand, i-3 is spot already, i-4 is of no cluster, and no spot price of m6i.xlarge is
    # known.
    assert spots == ["i-2"]
    one = found["spot", "i-2"]
    # 3.696 a day is 112.42 a month; spot at 0.0564 of 0.154 an hour saves 63.4 %.
    assert one.amount == pytest.approx(Decimal("71.25"), abs=Decimal("0.01"))
    assert one.cost == pytest.approx(Decimal("112.42"), abs=Decimal("0.01")) and one.confidence == "low"


def test_the_same_size_on_arm64(project):
    bill(project, node("m6i.xlarge", cost="4.608"))
    one = found_in(project)["arm64", "i-1"]
    assert "m6g.xlarge" in one.summary
    assert one.amount == pytest.approx(
        Decimal("140.16") * (1 - Decimal("0.154") / Decimal("0.192")), abs=Decimal("0.01")
    )


def test_nodes_are_halved_where_memory_allows_and_a_year_saves_a_thousand(project, target):
    tags = {"aindusdb:target": target.name}
    bill(
        project,
        [row for number in range(3) for row in node("m6g.2xlarge", f"i-{number}", "7.392", Tags=tags)],
    )
    assert not [one for one in found_in(project) if one[0] == "right_size"]
    measure(target, requests=3600, memory=4 * GIB)
    one = found_in(project)["right_size", "i-0"]
    assert one.refused == "" and "m6g.xlarge" in one.summary and one.amount * 12 > 1000
    MetricPoint.objects.filter(target=target).update(memory_bytes=60 * GIB)
    refused = found_in(project)["right_size", "i-0"]
    assert "GiB" in refused.refused
    other = type(project).objects.create(name="small")
    small = Target.objects.create(
        project=other, name="s", provider="local", region="local", status="ready", created_by="t"
    )
    bill(other, node("m6g.xlarge", cost="3.696", Tags={"aindusdb:target": "s"}))
    measure(small, requests=1)
    # Half of 112.42 a month is 674 a year: too little to bother.
    assert ("right_size", "i-1") not in found_in(other)


def test_a_database_is_halved_only_while_the_vector_indexes_fit_in_memory(project, target):
    tags = {"aindusdb:target": target.name}
    bill(
        project,
        month(
            "24.912",
            ResourceId="db-1",
            ServiceCategory="Databases",
            ServiceName="Amazon Relational Database Service",
            ChargeDescription="USD 1.038 per db.r6g.2xlarge instance hour",
            Tags=tags,
        ),
    )
    measure(target, requests=3600, points=1_000_000, size=10 * GIB)
    one = found_in(project)["database_size", "db-1"]
    assert one.refused == "" and "db.r6g.xlarge" in one.summary
    assert one.amount == pytest.approx(
        Decimal("757.74") * (1 - Decimal("0.519") / Decimal("1.038")), abs=Decimal("0.1")
    )
    # 32 GiB of memory, three quarters usable: 24 GiB do not hold 20 GiB of index with room to build.
    CollectionSize.objects.filter(target=target).update(bytes=20 * GIB)
    refused = found_in(project)["database_size", "db-1"]
    assert "would no longer fit in memory: 26.0 GiB" in refused.refused
    CollectionSize.objects.filter(target=target).update(bytes=GIB)
    MetricPoint.objects.filter(target=target).update(requests=3600 * 500)
    assert "500 requests/s" in found_in(project)["database_size", "db-1"].refused
    services.recommendations_find(project=project, today=TODAY)
    kept = Recommendation.objects.get(type="database_size")
    assert (
        kept.status == "refused"
        and "requests/s" in kept.reason
        and services.open_savings(project) == {"USD": Recommendation.objects.get(type="commitment").amount}
    )


def test_what_lies_about_unused(project, target):
    gone = Target.objects.create(
        project=project,
        name="gone",
        provider="local",
        region="local",
        status="destroyed",
        destroyed_at=datetime(2026, 11, 1, tzinfo=UTC),
        created_by="t",
    )
    snapshots = [date(2026, 7, 1), *DAYS]
    bill(
        project,
        [
            *month(
                "0.12", ResourceId="eip-1", ChargeDescription="$0.005 per Idle public IPv4 address per hour"
            ),
            *month(
                "0.12", ResourceId="eip-2", ChargeDescription="$0.005 per In-use public IPv4 address per hour"
            ),
            *month(
                "1", ResourceId="vol-1", ChargeDescription="gp3 volume", Tags={"aindusdb:target": gone.pk}
            ),
            *month(
                "1", ResourceId="vol-2", ChargeDescription="$0.10 per GB-month of gp2 provisioned storage"
            ),
            *month("0.5", snapshots, ResourceId="snap-1", ChargeDescription="EBS:SnapshotUsage"),
            *month("0.5", ResourceId="snap-2", ChargeDescription="EBS:SnapshotUsage"),
            *month(
                "2", ResourceId="nat-1", x_columns={"x_UsageType": "NatGateway-Bytes"}, ChargeDescription="x"
            ),
            *month(
                "2", ResourceId="nat-1", x_columns={"x_UsageType": "NatGateway-Hours"}, ChargeDescription="x"
            ),
            *month(
                "3",
                ResourceId="arn:bucket",
                ServiceCategory="Storage",
                ServiceName="Amazon Simple Storage Service",
                ChargeDescription="TimedStorage-ByteHrs",
            ),
        ],
    )
    found = found_in(project)
    assert {resource for kind, resource in found if kind == "unused_address"} == {"eip-1"}
    assert "destroyed on 1 Nov 2026" in found["unused_disk", "vol-1"].summary
    assert found["storage_class", "vol-2"].amount == pytest.approx(Decimal("6.08"), abs=Decimal("0.01"))
    assert {resource for kind, resource in found if kind == "old_snapshot"} == {"snap-1"}
    assert found["nat_traffic", "nat-1"].amount == pytest.approx(Decimal("30.42"), abs=Decimal("0.01"))
    assert found["storage_class", "arn:bucket"].confidence == "low"


def test_idle_targets_and_too_many_replicas(project, target):
    busy = Target.objects.create(
        project=project,
        name="busy",
        provider="local",
        region="local",
        spec={"replicas": 4},
        status="ready",
        created_by="t",
    )
    bill(
        project,
        [
            *node(Tags={"aindusdb:target": target.name}),
            *node(resource="i-2", Tags={"aindusdb:target": "busy"}),
        ],
    )
    measure(target, requests=0)
    for _ in range(4):
        measure(busy, requests=3600)
    found = found_in(project)
    assert found["idle", "target search"].amount == pytest.approx(Decimal("112.42"), abs=Decimal("0.01"))
    assert found["idle", "target search"].confidence == "high" and ("idle", "target busy") not in found
    fewer = found["autoscaler_bounds", "replicas of busy"]
    # 4 replicas with 4 requests/s in all: two are enough.
    assert fewer.spec == {"replicas": 2} and fewer.amount == pytest.approx(
        Decimal("56.21"), abs=Decimal("0.01")
    )
    services.recommendations_find(project=project, today=TODAY)
    held = services.recommendation_find(project, Recommendation.objects.get(type="autoscaler_bounds").pk)
    accepted, plan = services.recommendation_accept(recommendation=held, accepted_by="user:ada")
    assert plan.spec["replicas"] == 2 and accepted.plan == plan.pk and plan.target == busy
    assert Plan.objects.get().operation == ""


def example(kind, resource, amount, **more):
    values = {
        "cloud": "AWS",
        "type": kind,
        "resource": resource,
        "amount": Decimal(amount),
        "cost": Decimal(100),
        "currency": "USD",
        "confidence": "high",
        "summary": kind,
        "steps": ("Do it.",),
        "excludes": f"AWS/{resource}",
    }
    return Found(**values | more)


def test_of_those_that_exclude_each_other_the_best_counts():
    steady = example(
        "commitment", "all", "54", cost=Decimal(200), excludes="", evidence={"resources": ["i-1", "i-2"]}
    )
    found = [
        example("spot", "i-1", "60"),
        example("arm64", "i-1", "20"),
        example("right_size", "i-1", "90", refused="too small"),
        example("arm64", "i-2", "20"),
        example("arm64", "i-1", "30", currency="EUR"),
        steady,
    ]
    counted = without_overlap(found)
    assert [blocked for _, blocked in counted] == [None, 0, 0, None, None, None]
    # i-1 leaves on-demand as spot, i-2 gets 20 cheaper: 80 of 200 are left to commit to.
    assert counted[5][0].amount == Decimal("21.6") and counted[5][0].cost == 80
    # Destroying an idle target makes all else about it pointless; fewer replicas or cheaper machines, not
    # both.
    idle = [
        example("idle", "t", "100", target="tgt_a", excludes="x"),
        example("spot", "i-9", "60", target="tgt_a"),
    ]
    assert [blocked for _, blocked in without_overlap(idle)] == [None, 0]
    bounds = example("autoscaler_bounds", "r", "50", target="tgt_b", excludes="r")
    machines = [example("arm64", "i-7", "20", target="tgt_b"), example("arm64", "i-8", "20", target="tgt_b")]
    assert [blocked for _, blocked in without_overlap([bounds, *machines])] == [None, 0, 0]
    dearer = [example("spot", "i-7", "40", target="tgt_b"), machines[1]]
    assert [blocked for _, blocked in without_overlap([bounds, *dearer])] == [1, None, None]


def test_decisions_stay_through_searches_and_are_audited(project):
    def search():
        return services.recommendations_store(
            project=project, found=[example("arm64", "i-1", "20"), example("spot", "i-2", "30")]
        )

    assert search() == {"found": 2, "new": 2, "gone": 0}
    arm, spot = (Recommendation.objects.get(type=kind) for kind in ("arm64", "spot"))
    with pytest.raises(InvalidError):
        services.recommendation_dismiss(recommendation=arm, reason=" ", dismissed_by="u")
    services.recommendation_dismiss(recommendation=arm, reason="Needs AVX.", dismissed_by="user:ada")
    with pytest.raises(ConflictError):
        services.recommendation_accept(recommendation=arm, accepted_by="u")
    services.recommendation_snooze(recommendation=spot, days=7, snoozed_by="user:ada")
    assert search() == {"found": 2, "new": 0, "gone": 0} and services.open_savings(project) == {}
    Recommendation.objects.filter(pk=spot.pk).update(snoozed_until=timezone.now() - timedelta(hours=1))
    search()
    assert services.open_savings(project) == {"USD": Decimal(30)}
    services.recommendation_reopen(recommendation=arm, reopened_by="user:ada")
    assert services.open_savings(project) == {"USD": Decimal(50)}
    assert services.recommendations_store(project=project, found=[])["gone"] == 2
    spot.refresh_from_db()
    assert spot.status == "gone"
    search()
    spot.refresh_from_db()
    assert spot.status == "open"
    told = AuditEntry.objects.filter(subject=arm.pk).order_by("sequence").values_list("action", flat=True)
    assert list(told) == ["recommendation.dismiss", "recommendation.reopen"]


def test_what_was_saved_is_measured_against_the_bill(project):
    today = timezone.now().date()
    before = [today - timedelta(days=back) for back in range(12, 32)]
    after = [today - timedelta(days=back) for back in range(1, 10)]
    bill(project, month("10", before) + month("4", after))
    services.recommendations_store(project=project, found=[example("right_size", "i-1", "150")])
    held = Recommendation.objects.get()
    held, plan = services.recommendation_accept(recommendation=held, accepted_by="u")
    assert plan is None and held.status == "accepted"
    Recommendation.objects.filter(pk=held.pk).update(
        decided_at=timezone.now() - timedelta(days=10), cost_before=Decimal(10)
    )
    held.refresh_from_db()
    saved = services.realised(held)
    # Nine days since, of which the last two are not settled: 6 a day less.
    assert saved["days"] == 7 and saved["amount"] == pytest.approx(Decimal("182.5"), abs=Decimal("0.01"))
    assert services.realised(held, today=today - timedelta(days=7)) is None


class Recommender:
    """A cloud's own recommender, as an adapter of one would be."""

    name = "aws"

    def __init__(self, *found):
        self.found = found

    def recommendations(self, project_id):
        if not self.found:
            raise Transient("AWS does not answer.")
        yield from self.found


def test_clouds_own_recommenders_are_merged_and_one_that_is_away_hides_nothing(project):
    bill(project, node("m6i.xlarge", cost="4.608"))
    recommendations_sources.register(Recommender(example("right_size", "i-1", "99", source="aws")))
    try:
        done = run(services.recommendations_search(project=project, requested_by="test"))
        assert done.status == "succeeded" and done.result["sources_failed"] == {}
        theirs, ours = (Recommendation.objects.get(type=kind) for kind in ("right_size", "arm64"))
        assert theirs.source == "aws" and ours.superseded_by == theirs.pk
        recommendations_sources.register(Recommender())
        again = run(services.recommendations_search(project=project, requested_by="test"))
        assert again.result["sources_failed"] == {"aws": "AWS does not answer."} and again.result["gone"] == 1
    finally:
        recommendations_sources.unregister("aws")
