"""The part of a roll-out form that says how: rolling, or as a canary with its steps and gates."""

from deployments.pages.release_form import whole_number
from deployments.strategies import CANARY, DEFAULT_STEPS, PAUSE_SECONDS, ROLLING

FIELDS = (
    *("strategy", "steps", "gates.error_rate", "gates.p95_ms", "gates.p95_ratio"),
    *("gates.recall.min", "gates.recall.max_drop", "gates.min_requests"),
)
# What the form proposes; an empty field is a gate that is not asked for.
PROPOSED = {
    "weights": ", ".join(str(weight) for weight in DEFAULT_STEPS),
    "pause_seconds": str(PAUSE_SECONDS),
    "error_percent": "1",
    "p95_ms": "",
    "p95_ratio": "1.5",
    "recall_min": "",
    "recall_drop": "0.02",
    "min_requests": "30",
    "inconclusive": "hold",
}
INCONCLUSIVE = (
    ("hold", "Stay at the step until there is enough, or somebody promotes"),
    ("abort", "Go back"),
    ("go_on", "Go on, and note it"),
)


def strategy_context(request) -> dict:
    """What the form shows: what was typed, or what is proposed."""
    given = request.POST
    shown = {name: given.get(name, value) for name, value in PROPOSED.items()}
    return {
        "strategy": given.get("strategy", ROLLING),
        "by_hand": bool(given.get("by_hand")),
        "inconclusive_choices": INCONCLUSIVE,
        **shown,
    }


def strategy_asked(given) -> dict:
    """What was chosen, as a service takes it; what is no number is refused by its validation."""
    if given.get("strategy", ROLLING) != CANARY:
        return {"strategy": given.get("strategy", ROLLING)}
    pause = None if given.get("by_hand") else whole_number(given.get("pause_seconds", "").strip())
    weights = given.get("weights", "").replace("%", "").replace(";", ",").split(",")
    steps = [
        {"weight": whole_number(weight.strip()), "pause_seconds": pause}
        for weight in weights
        if weight.strip()
    ]
    gates = {
        "error_rate": _number(given, "error_percent", scale=100),
        "p95_ms": _number(given, "p95_ms"),
        "p95_ratio": _number(given, "p95_ratio"),
    }
    recall = {"min": _number(given, "recall_min"), "max_drop": _number(given, "recall_drop")}
    gates["recall"] = {name: value for name, value in recall.items() if value is not None} or None
    if given.get("min_requests", "").strip():
        gates["min_requests"] = whole_number(given["min_requests"].strip())
    gates["inconclusive"] = given.get("inconclusive", "hold")
    asked = {name: value for name, value in gates.items() if value is not None}
    return {"strategy": CANARY, "steps": steps, "gates": asked}


def _number(given, name: str, *, scale: int = 1) -> float | str | None:
    text = given.get(name, "").strip().replace(",", ".")
    if not text:
        return None
    try:
        return float(text) / scale
    except ValueError:
        return text
