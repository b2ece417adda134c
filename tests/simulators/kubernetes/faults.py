"""Faults on demand: refusals, delays, and connections that end without an answer."""

import fnmatch
import threading
from dataclasses import dataclass, field

from tests.simulators.kubernetes.access import Access
from tests.simulators.kubernetes.errors import StatusError
from tests.simulators.kubernetes.server import Answer, Request

_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    409: (
        "Conflict",
        "the object has been modified; please apply your changes to the latest version and try again",
    ),
    429: ("TooManyRequests", "too many requests, please try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}


@dataclass
class Fault:
    """One rule: patterns of method and path, what happens, and how often still (None: always)."""

    method: str
    path: str
    status: int
    message: str
    retry_after_seconds: int
    times: int | None
    delay_seconds: float
    hang_up: bool
    after: bool
    user_agent: str = "*"
    met: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        self.stopped.set()

    def covers(self, request: Request) -> bool:
        return (
            not self.stopped.is_set()
            and (self.times is None or self.met < self.times)
            and fnmatch.fnmatchcase(request.method, self.method)
            and fnmatch.fnmatchcase(request.path, self.path)
            and fnmatch.fnmatchcase(request.headers.get("user-agent", ""), self.user_agent)
        )


class Faults:
    """The faults of one cluster."""

    def __init__(self, access: Access):
        self._access = access
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def refuse(
        self,
        status: int = 0,
        path: str = "*",
        method: str = "*",
        *,
        message: str = "",
        retry_after_seconds: int = 0,
        times: int | None = None,
        delay_seconds: float = 0,
        hang_up: bool = False,
        after: bool = False,
        user_agent: str = "*",
    ) -> Fault:
        """Answer matching requests with `status`, late, or not at all (`hang_up`: the connection ends).

        With `after` the request is carried out first, and only its answer is spoilt: the client cannot know.
        `path` and `method` are patterns. `times` limits how often. RBAC: use `cluster.access.deny`.
        """
        fault = Fault(
            method,
            path,
            status,
            message,
            retry_after_seconds,
            times,
            delay_seconds,
            hang_up,
            after,
            user_agent,
        )
        with self._lock:
            self._faults.append(fault)
        return fault

    def before(self, request: Request) -> Answer | None:
        """The answer that a fault gives instead of the server's, or None. Raises the error of its status."""
        return self._met(request, after=False)

    def after(self, request: Request) -> Answer | None:
        """The same, for a request that was carried out."""
        return self._met(request, after=True)

    def _met(self, request: Request, *, after: bool) -> Answer | None:
        with self._lock:
            found = (fault for fault in self._faults if fault.after == after and fault.covers(request))
            fault = next(found, None)
            if fault is None:
                return None
            fault.met += 1
        if fault.delay_seconds:
            fault.stopped.wait(fault.delay_seconds)
        if fault.hang_up:
            return Answer(0, hang_up=True)
        if fault.status:
            reason, message = _REASONS.get(fault.status, ("", "refused by the test"))
            headers = {"Retry-After": str(fault.retry_after_seconds)} if fault.retry_after_seconds else {}
            raise StatusError(fault.status, reason, fault.message or message, headers=headers)
        return None
