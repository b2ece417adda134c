"""How a rollout goes: rolling, or as a canary in steps of weight, each held against gates."""

from controlplane.errors import InvalidError
from deployments.specs import problems_by_schema, with_defaults

ROLLING, CANARY = "rolling", "canary"
PAUSE_SECONDS = 60
DEFAULT_STEPS = (10, 25, 50, 100)

STEPS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "maxItems": 20,
    "items": {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 100},
            {
                "type": "object",
                "required": ["weight"],
                "additionalProperties": False,
                "properties": {
                    "weight": {"type": "integer", "minimum": 1, "maximum": 100},
                    "pause_seconds": {"type": ["integer", "null"], "minimum": 0, "maximum": 604_800},
                },
            },
        ]
    },
}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
GATES_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "error_rate": _SHARE | {"description": "Most of the canary's requests that may answer 5xx, 0 to 1."},
        "p95_ms": {"type": "number", "exclusiveMinimum": 0, "description": "Most ms of 95 % of them."},
        "p95_ratio": {"type": "number", "minimum": 1, "description": "Most times the stable release's."},
        "readiness": {"type": "boolean", "default": True, "description": "All its replicas stay ready."},
        "recall": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "min": _SHARE | {"description": "Least recall of its answers against exact search."},
                "max_drop": _SHARE | {"description": "Most that may be below the stable release's."},
                "queries": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20},
                "k": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
            },
        },
        "min_requests": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1_000_000,
            "default": 30,
            "description": "Requests of a step before error rate and p95 say anything.",
        },
        "inconclusive": {
            "enum": ["hold", "abort", "go_on"],
            "default": "hold",
            "description": "What becomes of a step whose pause is over before its gates say anything.",
        },
    },
}


def validated_strategy(strategy: str, steps, gates) -> tuple[list[dict], dict]:
    """(steps, gates) as they are kept; InvalidError names each wrong field.

    A step given as a number is that weight with a pause of PAUSE_SECONDS; a pause of null ends by a person.
    Weights rise; the promotion after the last step is to 100 whatever that one's weight.
    """
    if strategy == ROLLING:
        for field, given in (("steps", steps), ("gates", gates)):
            if given is not None:
                raise InvalidError(f"A rolling rollout has no {field}; use the strategy canary.", field=field)
        return [], {}
    if strategy != CANARY:
        raise InvalidError(f"{strategy!r} is not a strategy; use {ROLLING} or {CANARY}.", field="strategy")
    steps, gates = list(DEFAULT_STEPS) if steps is None else steps, gates or {}
    if problems_by_schema(STEPS_SCHEMA, steps, "steps"):
        raise InvalidError(
            "1 to 20 steps, each a weight of 1 to 100, or {weight, pause_seconds} with a pause of up to"
            " 604,800 seconds, or null to wait for a promotion.",
            field="steps",
        )
    problems = problems_by_schema(GATES_SCHEMA, gates, "gates")
    if problems:
        raise InvalidError(f"{problems[0]['field']}: {problems[0]['message']}", errors=problems)
    whole = [
        {"pause_seconds": PAUSE_SECONDS} | (step if isinstance(step, dict) else {"weight": step})
        for step in steps
    ]
    weights = [step["weight"] for step in whole]
    if sorted(set(weights)) != weights:
        raise InvalidError("The weights of the steps must rise.", field="steps")
    return whole, with_defaults(GATES_SCHEMA, gates)
