"""Budgets: how they stand, and that each threshold alerts once a period through every kind of channel."""

import email
import hashlib
import hmac
from datetime import date, timedelta
from decimal import Decimal

import pytest

from controlplane.errors import ConflictError, InvalidError
from costs.alert_channels import alert_channel_create, alert_channel_test, shown_address
from costs.budgets import budget_check, budget_create, budget_update, budgets_watch, period_of, standing
from costs.rates import exchange_rate_create
from tests.costs.billing import bill, record, run
from worker import engine, signals
from worker.models import Operation

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 21)


@pytest.fixture
def billed(project, target):
    """10 USD a day since 1 October, of which 4 are the target's, and 5 EUR on 3 November."""
    tags = {"aindusdb:target": target.pk}
    days = [date(2026, 10, 1) + timedelta(days=number) for number in range(51)]
    rows = [record(day, 6) for day in days] + [record(day, 4, Tags=tags, ResourceId="i-2") for day in days]
    rows.append(record(date(2026, 11, 3), 5, BillingCurrency="EUR", ProviderName="Microsoft"))
    bill(project, rows)
    return project


def make(project, **values):
    values = {"name": "all", "amount": Decimal(400), "currency": "USD"} | values
    return budget_create(project=project, created_by="test", **values)


def test_periods():
    assert period_of("month", date(2026, 12, 31)) == (date(2026, 12, 1), date(2027, 1, 1))
    assert period_of("quarter", date(2026, 11, 5)) == (date(2026, 10, 1), date(2027, 1, 1))
    assert period_of("year", date(2026, 11, 5)) == (date(2026, 1, 1), date(2027, 1, 1))


def test_a_budget_stands_by_what_its_scope_spent_and_will_spend(billed, target):
    now = standing(make(billed), TODAY)
    assert now.spend.actual == 200 and now.spend.until == date(2026, 11, 21)
    # Every settled day cost 10, so 30 days will cost 300 and nothing is uncertain.
    assert now.spend.forecast == now.spend.low == now.spend.high == 300
    assert now.spend.others == {"EUR": Decimal(5)} and now.state == "ok" and now.percent("actual") == 50
    assert standing(make(billed, name="t", scope="target", target=target), TODAY).spend.actual == 80
    assert standing(make(billed, name="q", period="quarter"), TODAY).spend.actual == 510
    euros = make(billed, name="e", currency="EUR", scope="cloud", cloud="Microsoft")
    assert standing(euros, TODAY).spend.actual == 5
    exchange_rate_create(
        project=billed,
        date=date(2026, 11, 1),
        from_currency="EUR",
        to_currency="USD",
        rate=Decimal("1.2"),
        created_by="test",
    )
    counted = standing(make(billed, name="c"), TODAY).spend
    assert counted.actual == 206 and counted.others == {}


def test_a_forecast_has_a_range_and_none_is_made_of_too_few_days(project):
    bill(
        project,
        [record(date(2026, 11, 1) + timedelta(days=number), 8 + number % 3 * 2) for number in range(18)],
    )
    spent = standing(make(project), date(2026, 11, 19)).spend
    assert spent.low < spent.forecast < spent.high
    assert 290 < spent.forecast < 310
    other = type(project).objects.create(name="other")
    bill(other, [record(date(2026, 11, 1) + timedelta(days=number), 9) for number in range(5)])
    early = standing(make(other), date(2026, 11, 6)).spend
    assert early.actual == 45 and early.forecast is None
    assert (
        budget_check(
            budget=make(other, name="f", amount=Decimal(1), thresholds=[{"on": "forecast", "percent": 1}]),
            today=date(2026, 11, 6),
        )
        == []
    )


def test_each_threshold_alerts_once_a_period(billed, inbox, mailbox, settings):
    settings.ALERT_NETWORKS = ["127.0.0.0/8"]
    settings.SMTP_URL = f"smtp://127.0.0.1:{mailbox.port}"
    settings.PUBLIC_URL = "https://aindus.example.org"
    hook = alert_channel_create(
        project=billed, name="hook", kind="webhook", url=f"{inbox.url}/h?x=1", created_by="t"
    )
    slack = alert_channel_create(
        project=billed, name="slack", kind="slack", url=f"{inbox.url}/s", created_by="t"
    )
    mail = alert_channel_create(
        project=billed,
        name="mail",
        kind="email",
        recipients=["ada@example.org", "ops@example.org"],
        created_by="t",
    )
    thresholds = [
        {"on": "actual", "percent": 50},
        {"on": "actual", "percent": 80},
        {"on": "forecast", "percent": 75},
    ]
    budget = make(billed, thresholds=thresholds, channels=[hook, slack, mail])
    assert [(one.on, one.percent) for one in budgets_watch(TODAY)] == [("actual", 50), ("forecast", 75)]
    assert budgets_watch(TODAY) == []
    # A changed amount does not repeat what was told; a threshold that is new is told.
    budget_update(budget=budget, updated_by="t", thresholds=[*thresholds, {"on": "actual", "percent": 40}])
    assert [one.percent for one in budgets_watch(TODAY)] == [40]
    alert = budget.alerts.get(percent=50)
    assert alert.seen == 200 and set(alert.operations) == {hook.pk, slack.pk, mail.pk}
    for operation in alert.operations.values():
        done = run(Operation.objects.get(pk=operation))
        assert done.status == "succeeded", done.error
    posted, slacked = sorted(inbox.posts, key=lambda one: one["path"])
    assert posted["path"] == "/h?x=1" and posted["headers"]["X-Aindus-Delivery"] == alert.pk
    assert posted["json"]["seen"] == {"amount": "200.0000000000", "currency": "USD"}
    assert posted["json"]["percent"] == 50 and posted["json"]["link"].endswith(f"/costs/budgets/{budget.pk}/")
    stamp, _, told = posted["headers"]["X-Aindus-Signature"].partition(",v1=")
    wanted = hmac.new(
        hook.secrets["signing_key"].encode(),
        stamp.removeprefix("t=").encode() + b"." + posted["raw"],
        hashlib.sha256,
    )
    assert told == wanted.hexdigest()
    assert slacked["json"]["text"].startswith("Budget all: 50 % spent: 200.00 USD of 400.00 USD")
    assert (
        slacked["json"]["blocks"][0]["type"] == "section" and "X-Aindus-Signature" not in slacked["headers"]
    )
    assert mailbox.mails[0]["to"] == ["ada@example.org", "ops@example.org"]
    mail_read = email.message_from_bytes(mailbox.mails[0]["raw"])
    assert (
        mail_read["Subject"] == "Budget all: 50 % spent"
        and mail_read["Message-ID"] == f"<{alert.pk}@aindusdb.invalid>"
    )
    # The next month alerts anew: December's 1st of data is over 1 % of it.
    low = make(billed, name="low", thresholds=[{"on": "actual", "percent": 1}])
    assert len(budget_check(budget=low, today=date(2026, 10, 20))) == 1
    assert len(budget_check(budget=low, today=TODAY)) == 1


def test_deliveries_are_tried_again_until_they_work_or_cannot(project, inbox, settings):
    settings.ALERT_NETWORKS = ["127.0.0.0/8"]
    hook = alert_channel_create(project=project, name="hook", kind="webhook", url=inbox.url, created_by="t")
    inbox.answers = [503, 429, 200]
    done = run(alert_channel_test(channel=hook, requested_by="t"))
    assert done.status == "succeeded" and done.result["tries"] == 3
    ids = {one["headers"]["X-Aindus-Delivery"] for one in inbox.posts}
    assert len(inbox.posts) == 3 and len(ids) == 1 and inbox.posts[0]["json"]["type"] == "channel.test"
    inbox.answers = [410]
    gone = run(alert_channel_test(channel=hook, requested_by="t"))
    assert gone.status == "failed" and gone.error == "127.0.0.1 answers 410." and len(inbox.posts) == 4
    inbox.answers = [500] * 20
    never = run(alert_channel_test(channel=hook, requested_by="t"))
    assert never.status == "failed" and never.error_code == "not_delivered" and len(inbox.posts) == 15


def test_webhooks_do_not_lead_into_the_own_network_unless_allowed(project, inbox, settings):
    settings.ALERT_NETWORKS = []
    hook = alert_channel_create(project=project, name="hook", kind="slack", url=inbox.url, created_by="t")
    refused = run(alert_channel_test(channel=hook, requested_by="t"))
    assert (
        refused.status == "failed"
        and "not public" in refused.error
        and "AINDUS_ALERT_NETWORKS" in refused.remedy
    )
    assert inbox.posts == []


def test_mail_that_is_refused_for_good_is_not_tried_again(project, mailbox, settings):
    mail = alert_channel_create(
        project=project, name="m", kind="email", recipients=["a@example.org"], created_by="t"
    )
    unset = run(alert_channel_test(channel=mail, requested_by="t"))
    assert unset.status == "failed" and "AINDUS_SMTP_URL" in unset.remedy
    settings.SMTP_URL = f"smtp://127.0.0.1:{mailbox.port}"
    mailbox.answers = [451]
    assert run(alert_channel_test(channel=mail, requested_by="t")).result["tries"] == 2
    mailbox.answers = [554]
    assert run(alert_channel_test(channel=mail, requested_by="t")).status == "failed"
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": Decimal(0)}, "amount"),
        ({"currency": "dollars"}, "currency"),
        ({"scope": "target"}, "target"),
        ({"scope": "cloud"}, "cloud"),
        ({"cloud": "AWS"}, "cloud"),
        ({"thresholds": [{"on": "hope", "percent": 5}]}, "thresholds.0.on"),
        ({"thresholds": [{"on": "actual", "percent": 0}]}, "thresholds.0.percent"),
        ({"name": "No Spaces"}, "name"),
    ],
)
def test_what_makes_no_budget_is_refused_by_field(project, values, field):
    with pytest.raises(InvalidError) as caught:
        make(project, **values)
    assert caught.value.errors[0]["field"] == field


def test_names_are_taken_once_and_addresses_of_webhooks_are_not_shown(project):
    make(project)
    with pytest.raises(ConflictError):
        make(project)
    hook = alert_channel_create(
        project=project, name="h", kind="slack", url="https://u:p@hooks.example.org/T0/secret", created_by="t"
    )
    assert shown_address(hook) == "https://hooks.example.org/..."
    for url in ("ftp://x/", "https://", "nonsense"):
        with pytest.raises(InvalidError):
            alert_channel_create(project=project, name="x", kind="webhook", url=url, created_by="t")


class Crash(BaseException):
    """The worker dies right here."""


@pytest.fixture
def crash_after_step():
    """Dies once, after a step has done its work and before that is committed; the lease is over at once."""

    def die(**moment):
        signals.step_ran.disconnect(die)
        Operation.objects.filter(pk=moment["operation_id"]).update(lease_expires_at=engine.database_now())
        raise Crash

    yield lambda: signals.step_ran.connect(die)
    signals.step_ran.disconnect(die)


def test_an_alert_whose_worker_died_after_sending_carries_the_same_id_again(
    project, inbox, settings, crash_after_step
):
    settings.ALERT_NETWORKS = ["127.0.0.0/8"]
    hook = alert_channel_create(project=project, name="hook", kind="webhook", url=inbox.url, created_by="t")
    operation = alert_channel_test(channel=hook, requested_by="t")
    crash_after_step()
    with pytest.raises(Crash):
        engine.advance(operation.pk)
    assert run(operation).status == "succeeded"
    first, second = (one["headers"]["X-Aindus-Delivery"] for one in inbox.posts)
    assert first == second == operation.pk
    assert operation.events.filter(outcome="lost").count() == 1
