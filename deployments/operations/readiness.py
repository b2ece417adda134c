"""Whether a replica would serve a request now: one GET /ready."""

import http.client
import json
from contextlib import closing

TIMEOUT_SECONDS = 1.5


def readiness(host: str, port: int) -> tuple[bool, str]:
    """(ready, why not): the answer of GET /ready, in words when it is not 200."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("GET", "/ready", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(4096)
    except TimeoutError:
        return False, f"/ready does not answer within {TIMEOUT_SECONDS} s"
    except (OSError, http.client.HTTPException) as error:
        return False, f"/ready cannot be reached ({type(error).__name__})"
    if answer.status == 200:
        return True, ""
    return False, f"/ready answers {answer.status}{failing_part(body)}"


def failing_part(body: bytes) -> str:
    """What a 503 of /ready says is wrong, as the end of a sentence; empty when it says nothing."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        text = body.decode(errors="replace").strip()
        return f": {text[:200]}" if text else ""
    if told.get("detail"):
        return f": {str(told['detail'])[:200]}"
    wrong = {
        name: value for name, value in told.items() if value not in (True, "ok", None) and name != "status"
    }
    return f": {json.dumps(wrong)[:200]}" if wrong else ""
