"""Estimates held against the bill: what a target's days have cost, as of a month, beside what was
estimated.
"""

from datetime import date, timedelta
from decimal import Decimal

from costs.estimates_math import HOURS_A_MONTH, money
from costs.models_planning import Estimate
from costs.spend import UNSETTLED_DAYS, daily

DAYS_A_MONTH = HOURS_A_MONTH / 24
MOST_DAYS = 30


def estimate_variance(estimate: Estimate, today: date) -> list[dict]:
    """[{estimated, billed, difference, percent, days}] of each currency; empty for an estimate of no target.

    The bill is that of whole, settled days since the day after the estimate, up to 30 of them.
    """
    if estimate.target_id is None:
        return []
    end = today - timedelta(days=UNSETTLED_DAYS)
    since = max(estimate.created_at.date() + timedelta(days=1), end - timedelta(days=MOST_DAYS))
    billed = (
        daily(estimate.project, since, end, target=estimate.target_id, measure="EffectiveCost")
        if since < end
        else {}
    )
    found = []
    for total in estimate.totals:
        estimated = Decimal(total["amount"])
        days = billed.get(total["currency"], {})
        span = (max(days) - min(days)).days + 1 if days else 0
        entry = {"estimated": total, "billed": None, "difference": None, "percent": None, "days": span}
        if span:
            a_month = sum(days.values()) / span * DAYS_A_MONTH
            entry["billed"] = money(a_month, total["currency"])
            entry["difference"] = money(a_month - estimated, total["currency"])
            if estimated:
                entry["percent"] = round(float(100 * (a_month - estimated) / estimated), 1)
        found.append(entry)
    return found
