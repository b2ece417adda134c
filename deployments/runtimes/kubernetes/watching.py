"""What a cluster tells of a namespace besides the workload: its events, and what its pods use."""

from datetime import UTC, datetime

from deployments.errors import NotFound, ProviderError
from deployments.runtimes.kubernetes.client import ClusterClient
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.workload import ClusterEvent, Usage

EVENTS_MOST = 1000
LONGEST_MESSAGE = 1000
METRICS_ABSENT = (
    "The cluster has no metrics API (metrics.k8s.io), so what its pods use is not known. Install"
    " metrics-server there."
)


def events(client: ClusterClient, namespace: str) -> list[ClusterEvent]:
    """The events of a namespace that the cluster still keeps (an hour by default), oldest first."""
    found = [_event(document) for document in client.list(kind_named("Event"), namespace)]
    found.sort(key=lambda event: event.last_at)
    return found[-EVENTS_MOST:]


def _event(document: dict) -> ClusterEvent:
    meta, about = document.get("metadata") or {}, document.get("involvedObject") or {}
    series = document.get("series") or {}
    made = _time(meta.get("creationTimestamp"))
    first = _time(document.get("firstTimestamp")) or _time(document.get("eventTime")) or made
    last = _time(series.get("lastObservedTime")) or _time(document.get("lastTimestamp")) or first
    now = datetime.now(UTC)
    return ClusterEvent(
        uid=str(meta.get("uid") or meta.get("name") or ""),
        kind=str(about.get("kind") or ""),
        name=str(about.get("name") or ""),
        is_warning=document.get("type") == "Warning",
        reason=str(document.get("reason") or ""),
        message=str(document.get("message") or document.get("note") or "")[:LONGEST_MESSAGE],
        count=max(1, int(series.get("count") or document.get("count") or 1)),
        first_at=first or now,
        last_at=last or now,
    )


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except ValueError:
        return None


def usage(client: ClusterClient, namespace: str, labels: str = "") -> dict[str, Usage]:
    """{pod: Usage} of the metrics API; NotFound that says what to do where there is none."""
    query = {"labelSelector": labels} if labels else None
    path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
    try:
        items = client.call("GET", path, query=query).get("items") or []
    except NotFound:
        raise NotFound(METRICS_ABSENT, code="metrics_absent") from None
    found = {}
    for item in items:
        parts = [container.get("usage") or {} for container in item.get("containers") or []]
        found[item["metadata"]["name"]] = Usage(
            sum(quantity(part.get("cpu", "0")) for part in parts),
            int(sum(quantity(part.get("memory", "0")) for part in parts)),
        )
    return found


_SUFFIXES = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60},
}


def quantity(text: str) -> float:
    """A quantity of the API as a number: cores, or bytes; ProviderError for what is none."""
    text = str(text).strip()
    for suffix in (text[-2:], text[-1:]):
        if suffix in _SUFFIXES:
            number, factor = text[: -len(suffix)], _SUFFIXES[suffix]
            break
    else:
        number, factor = text, 1
    try:
        return float(number) * factor
    except ValueError:
        raise ProviderError(f"The cluster tells a quantity that is none: {text[:40]!r}.") from None
