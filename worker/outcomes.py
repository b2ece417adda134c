"""What a step may return: exactly one of these."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Next:
    """Go on with another step; `step` is the handler's method or its name."""

    step: object
    message: str = ""
    detail: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.step if isinstance(self.step, str) else self.step.__name__


@dataclass(frozen=True)
class Wait:
    """Run the same step again after `seconds`, or as soon as somebody wakes the operation.

    `waiting_for` is a phrase for people ("replica 2 to become ready"); `percent` is 0 to 100 when it can
    be known. A wait is progress: it resets the count of attempts.
    """

    seconds: float
    waiting_for: str = ""
    percent: int | None = None


@dataclass(frozen=True)
class Done:
    """The operation succeeded; `result` is shown to whoever asked for it."""

    result: dict = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Fail:
    """The operation failed for good: what happened, and what the operator can do about it."""

    error: str
    code: str = "failed"
    remedy: str = ""


@dataclass(frozen=True)
class Cancelled:
    """A cancellation was carried out, after whatever the handler undid."""

    message: str = ""


Outcome = Next | Wait | Done | Fail | Cancelled
