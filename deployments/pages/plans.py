"""Plans as a reader sees them: changes with the lines that differ."""

from deployments.models import Plan

ACTIONS = {
    "create": ("Create", "plus", "ok"),
    "change": ("Change", "edit", "warning"),
    "replace": ("Replace", "restart", "failing"),
    "destroy": ("Destroy", "trash", "failing"),
}


def flatten(value, prefix: str = "") -> dict:
    """{"env": {"A": "1"}} as {"env.A": "1"}."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for name, part in value.items():
        flat |= flatten(part, f"{prefix}.{name}" if prefix else str(name))
    return flat


def flat_difference(before: dict, after: dict) -> list[dict]:
    """[{name, before, after}] of every value that differs, by name."""
    old, new = flatten(before), flatten(after)
    return [
        {"name": name, "before": old.get(name), "after": new.get(name)}
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


# A change of more lines than this is folded: a plan of many objects stays one page.
LINES_OPEN = 12
# What is shown beside a form, of what is yet to be made.
LINES_SHORT = 3


def kind_shown(kind: str) -> str:
    """`database role` as `Database role`; what is a name already (`StatefulSet`) as it is."""
    return kind if kind[:1].isupper() else kind.replace("_", " ").capitalize()


def shown_changes(changes: list[dict]) -> list[dict]:
    """A plan's changes with the word, icon and tone of each action, and its fields as lines of a diff."""
    shown = []
    for change in changes:
        word, icon, tone = ACTIONS.get(change["action"], (change["action"].capitalize(), "edit", "unknown"))
        lines = []
        for name, value in change["fields"].items():
            pair = value if isinstance(value, list) and len(value) == 2 else [None, value]
            lines.append({"name": name, "before": pair[0], "after": pair[1]})
        told = {"long": len(lines) > LINES_OPEN, "kind_shown": kind_shown(change["kind"])}
        told["short"] = len(lines) <= LINES_SHORT and not change["kind"][:1].isupper()
        shown.append({**change, **told, "word": word, "icon": icon, "tone": tone, "lines": lines})
    return shown


def plan_context(plan: Plan) -> dict:
    """What shows a plan: changes, problems by severity, whether it can be applied."""
    errors = [one for one in plan.problems if one["severity"] == "error"]
    return {
        "plan": plan,
        "changes": shown_changes(plan.changes),
        "counts": [
            (word, count)
            for action, (word, _, _) in ACTIONS.items()
            if (count := sum(change["action"] == action for change in plan.changes))
        ],
        "errors_found": errors,
        "warnings": [one for one in plan.problems if one["severity"] != "error"],
        "spec_changes": flat_difference(
            plan.target.spec if plan.target.status != "pending" else {}, plan.spec
        ),
        "loses_data": any(change["replaces_data"] for change in plan.changes),
        "applicable": not errors and not plan.operation,
    }
