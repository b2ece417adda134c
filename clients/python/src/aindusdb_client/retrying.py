"""When and after how long a call is tried again."""

import random
from dataclasses import dataclass

from aindusdb_client.errors import ApiError, NoAnswerError

# Problems of status 503 that are told before anything was begun.
NOTHING_DONE = frozenset({"no_ready_replica", "not_ready", "overloaded"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How calls are tried again: after 429, 503 and lost connections.

    The wait before try n is drawn evenly from 0 to first_wait_seconds * 2 ** (n - 1), at most
    most_wait_seconds; what the server asks for (Retry-After) is waited in full, and the draw on top of it,
    so that callers told the same do not come back at once. A wait that the call's deadline would not
    outlast is not begun.
    """

    tries: int = 5
    first_wait_seconds: float = 0.1
    most_wait_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries is at least 1")

    def wait_seconds(self, tried: int, error: ApiError | NoAnswerError) -> float:
        """The wait after `tried` tries, the last of which ended with `error`."""
        most = min(self.first_wait_seconds * 2.0 ** (tried - 1), self.most_wait_seconds)
        asked = getattr(error, "retry_after", None) or 0.0
        return float(asked) + random.uniform(0.0, most)


NO_RETRIES = RetryPolicy(tries=1)


def may_repeat(error: ApiError | NoAnswerError, *, sent: bool, repeatable: bool) -> bool:
    """Whether a call may be sent again: `sent` is whether the server may have got it."""
    if isinstance(error, NoAnswerError):
        return repeatable or not sent
    if error.status == 429:
        return True
    return error.status == 503 and (repeatable or error.code in NOTHING_DONE)
