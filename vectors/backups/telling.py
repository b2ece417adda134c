"""How `vectors_backup` tells of itself: lines of JSON on standard output, the last of which counts.

`{"state": "running", "phase", "bytes"?, "total_bytes"?}` while it works, then
`{"state": "succeeded", "result"}` or `{"state": "failed", "error", "code"}`.
"""

import json
import sys
import time

TELL_SECONDS = 0.5


class Telling:
    """Writes lines to a stream, progress at most twice a second unless the phase changes."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stdout
        self._phase, self._told = "", 0.0

    def progress(self, phase: str, *, bytes: int | None = None, total_bytes: int | None = None) -> None:
        """What is being done, and how much of it; the unit is bytes."""
        now = time.monotonic()
        if phase == self._phase and now - self._told < TELL_SECONDS:
            return
        self._phase, self._told = phase, now
        known = {"bytes": bytes, "total_bytes": total_bytes}
        self._line(state="running", phase=phase, **{k: v for k, v in known.items() if v is not None})

    def succeeded(self, result: dict) -> None:
        self._line(state="succeeded", result=result)

    def failed(self, error: str, code: str = "failed") -> None:
        self._line(state="failed", error=error, code=code)

    def _line(self, **told) -> None:
        print(json.dumps(told, separators=(",", ":")), file=self.stream, flush=True)
