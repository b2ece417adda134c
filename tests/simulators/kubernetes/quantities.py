"""Kubernetes quantities: 500m, 1Gi, 2e3. Read exactly, and written in the API server's canonical form."""

import re
from decimal import Decimal

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_SHAPE = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)$")
PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"


def _split(text) -> tuple[Decimal, str]:
    found = _SHAPE.match(str(text))
    if not found:
        raise ValueError(f"quantities must match the regular expression '{PATTERN}'")
    return Decimal(found[1]), found[2]


def parse(text) -> Decimal:
    """The number that a quantity means, in its base unit (cores, bytes)."""
    number, suffix = _split(text)
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number * _DECIMAL[suffix]
    return number * Decimal(10) ** int(suffix[1:])


def canonical(text) -> str:
    """As the API server gives it back: 1000m is 1, 0.5 is 500m, 1024Mi is 1Gi."""
    _, suffix = _split(text)
    value = parse(text)
    if suffix in _BINARY and value == value.to_integral_value():
        return _largest(int(value), _BINARY)
    if suffix and suffix[0] in "eE" and suffix not in _DECIMAL:
        return str(text)
    return decimal(value)


def decimal(value: Decimal) -> str:
    """A number as a quantity with a decimal suffix."""
    for suffix in ("E", "P", "T", "G", "M", "k", "", "m", "u", "n"):
        scaled = value / _DECIMAL[suffix]
        if value and scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return "0"


def binary(value: int) -> str:
    return _largest(int(value), _BINARY)


def _largest(value: int, units: dict[str, int]) -> str:
    for suffix, size in sorted(units.items(), key=lambda unit: -unit[1]):
        if value and value % size == 0:
            return f"{value // size}{suffix}"
    return str(value)
