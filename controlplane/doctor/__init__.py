"""What `manage.py doctor` checks.

A check is a function without arguments that returns a `Finding`; an app adds its own by decorating them
with `check` in a module named `diagnosis`, which the command imports.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How good it is."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    level: Level
    what: str
    remedy: str = ""
    check: str = ""

    def as_dict(self) -> dict:
        """{level, what, remedy, check}, all text."""
        return asdict(self)


def ok(what: str) -> Finding:
    return Finding(Level.OK, what)


def warning(what: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, what, remedy)


def failing(what: str, remedy: str) -> Finding:
    return Finding(Level.FAILING, what, remedy)


_checks: dict[str, tuple[Callable[[], Finding], str]] = {}


def check(name: str, *, needs: str = ""):
    """Register a check; it is skipped when the check named by `needs` fails."""

    def decorate(function: Callable[[], Finding]) -> Callable[[], Finding]:
        _checks[name] = (function, needs)
        return function

    return decorate


def examine() -> list[Finding]:
    """Run every check in the order of registration. One that raises is failing; none stops the others."""
    found: dict[str, Finding] = {}
    for name, (function, needs) in _checks.items():
        if needs and found[needs].level in (Level.FAILING, Level.SKIPPED):
            finding = Finding(Level.SKIPPED, f"needs {needs}")
        else:
            try:
                finding = function()
            except Exception as error:
                text = " ".join(str(error).split())
                finding = failing(
                    f"{type(error).__name__}: {text}", "This check itself failed; see the message."
                )
        found[name] = Finding(finding.level, finding.what, finding.remedy, name)
    return list(found.values())
