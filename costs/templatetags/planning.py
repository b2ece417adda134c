"""How pages of costs write money: thousands separated, to the cent, always with its currency."""

from decimal import ROUND_HALF_EVEN, Decimal

from django import template

register = template.Library()
CENT = Decimal("0.01")


def written(amount: Decimal, currency: str, *, sign: bool = False) -> str:
    """1,234.50 USD; with `sign` also +1,234.50 USD."""
    return f"{amount.quantize(CENT, ROUND_HALF_EVEN):{'+' if sign else ''},} {currency}"


@register.filter
def money(value) -> str:
    """{amount, currency}; a dash for nothing."""
    return written(Decimal(value["amount"]), value["currency"]) if value else "—"


@register.filter
def money_change(value) -> str:
    """{amount, currency} with its sign."""
    return written(Decimal(value["amount"]), value["currency"], sign=True) if value else "—"


@register.filter
def in_currency(amount, currency: str) -> str:
    """A decimal amount in a currency; a dash for none."""
    return "—" if amount is None else written(Decimal(amount), currency)


@register.filter
def change_size(change) -> str:
    """A change, as a share of 1, without its sign: 12.3 %."""
    size = abs(float(change)) * 100
    return f"{size:,.0f} %" if size >= 100 else f"{size:.1f} %"


@register.filter
def unit_words(unit: str) -> str:
    """What a price is for: `gib_month` as `a GiB and month`."""
    from costs.models_planning import Unit

    return Unit(unit).label
