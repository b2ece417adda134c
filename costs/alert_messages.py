"""What an alert says, in each form that a channel takes: e-mail, webhook, Slack-compatible."""

from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

WORDS = {"actual": "spent", "forecast": "forecast"}


@dataclass(frozen=True)
class Message:
    """An alert as all channels are told of it; `id` is the same for every try, so that receivers can drop
    repeats.
    """

    id: str
    title: str
    text: str
    link: str
    data: dict = field(default_factory=dict)


def shown(amount: Decimal, currency: str) -> str:
    """1,234.50 USD."""
    return f"{amount.quantize(Decimal('0.01'), ROUND_HALF_EVEN):,} {currency}"


def budget_message(alert, base_url: str) -> Message:
    """What a budget's alert says."""
    budget = alert.budget
    of = {"target": f"target {budget.target}", "cloud": budget.cloud}.get(
        budget.scope, f"project {budget.project}"
    )
    seen, amount = shown(alert.seen, alert.currency), shown(alert.amount, alert.currency)
    title = f"Budget {budget.name}: {alert.percent} % {WORDS[alert.on]}"
    text = (
        f"{seen} of {amount} is {WORDS[alert.on]} for the {budget.period} from "
        f"{alert.period_start:%-d %B %Y} ({of}). The threshold is {alert.percent} % of {alert.on} cost."
    )
    link = f"{base_url}/costs/budgets/{budget.pk}/" if base_url else ""
    return Message(
        id=alert.pk,
        title=title,
        text=text,
        link=link,
        data={
            "type": "budget.threshold_reached",
            "budget": {"id": budget.pk, "name": budget.name, "scope": budget.scope, "period": budget.period},
            "project": budget.project.name,
            "target": budget.target.name if budget.target else None,
            "cloud": budget.cloud or None,
            "period_start": _day(alert.period_start),
            "on": alert.on,
            "percent": alert.percent,
            "seen": {"amount": str(alert.seen), "currency": alert.currency},
            "limit": {"amount": str(alert.amount), "currency": alert.currency},
        },
    )


def check_message(channel, delivery: str) -> Message:
    """What is sent when somebody asks whether a channel works."""
    return Message(
        id=delivery,
        title=f"Test of alert channel {channel.name}",
        text="Somebody asked for this test. Alerts of budgets will arrive here.",
        link="",
        data={"type": "channel.test", "channel": {"id": channel.pk, "name": channel.name}},
    )


def webhook_body(message: Message) -> dict:
    """{id, title, text, link, ...}: the alert's figures beside its words."""
    return {
        "id": message.id,
        "title": message.title,
        "text": message.text,
        "link": message.link,
    } | message.data


def slack_body(message: Message) -> dict:
    """`text` for what shows no blocks (Mattermost, notifications), and blocks for Slack."""
    escaped = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    title = message.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    blocks = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{escaped}"}},
    ]
    if message.link:
        blocks.append(
            {"type": "context", "elements": [{"type": "mrkdwn", "text": f"<{message.link}|Open the budget>"}]}
        )
    return {"text": f"{title}: {escaped}", "blocks": blocks}


def _day(day: date) -> str:
    return day.isoformat()
