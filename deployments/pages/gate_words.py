"""Gates and their readings as pages write them."""

from controlplane.templatetags.pages import milliseconds

NAMES = {
    "readiness": "Readiness",
    "error_rate": "Error rate",
    "p95_ms": "p95 latency",
    "p95_ratio": "p95 against stable",
    "recall_min": "Recall",
    "recall_drop": "Recall below stable",
}


def reading_shown(reading: dict) -> dict:
    """A reading with its name, and its figures in words: {..., name, shown, limit_shown, stable_shown}."""
    gate, word = reading["gate"], _word(reading["gate"])
    limit = word(reading["limit"])
    if gate == "readiness":
        limit = f"all {limit}"
    else:
        limit = f"at least {limit}" if gate == "recall_min" else f"at most {limit}"
    return reading | {
        "name": NAMES.get(gate, gate),
        "shown": word(reading["value"]),
        "limit_shown": limit,
        "stable_shown": word(reading.get("stable")) if gate not in ("readiness", "p95_ratio") else "",
    }


def _word(gate: str):
    forms = {
        "error_rate": lambda value: f"{value * 100:.3g} %",
        "p95_ms": milliseconds,
        "p95_ratio": lambda value: f"{value:.2f} x",
        "readiness": lambda value: f"{value:.0f}",
    }
    form = forms.get(gate, lambda value: f"{value:.4f}")
    return lambda value: "—" if value is None else form(value)
