"""Reads the figures of a target's pods from a Prometheus that scrapes them, by its query API."""

import json
from collections import defaultdict
from urllib.parse import quote, urlsplit

from deployments.fetching import Answer
from deployments.providers.base import ClusterAccess
from deployments.reaching import Way, service_way

READ = (
    r"aindusdb_api_(requests|requests_shed|requests_limited|queries_slow)_total"
    r"|aindusdb_api_request_duration_seconds_(bucket|sum)"
    r"|aindusdb_api_collection_(points|bytes)"
    r"|(aindusdb_api_|aindusdb_api_process_|process_)resident_memory_bytes"
)
Sample = tuple[str, dict[str, str], float]


class PrometheusError(ValueError):
    """It does not give what was asked for; the text says why, and what to do."""


def way_to(url: str, access: ClusterAccess, *, by_address: bool) -> Way:
    """The way to a Prometheus; one in the cluster (`name.namespace.svc`) is asked through the API server."""
    parts = urlsplit(url)
    names = (parts.hostname or "").split(".")
    if by_address or len(names) < 3 or names[2] != "svc":
        return Way(url.rstrip("/"))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    way = service_way(access, names[1], names[0], port, parts.scheme)
    return Way(way.url + parts.path.rstrip("/"), way.headers, way.tls, way.relay)


def query_path(namespace: str) -> str:
    """The path and query that ask for the newest figures of a namespace's pods."""
    query = f'{{__name__=~"{READ}",namespace="{namespace}",pod=~"aindusdb-api.*"}}'
    return f"/api/v1/query?query={quote(query, safe='')}"


def samples_of(answer: Answer, namespace: str) -> dict[str, list[Sample]]:
    """{pod: samples}; PrometheusError when there are none, or it is not Prometheus that answered."""
    if answer.error:
        raise PrometheusError(f"Prometheus {answer.error}. See that its address is right (spec.monitoring).")
    try:
        told = json.loads(answer.body)
        if told["status"] != "success":
            raise PrometheusError(f"Prometheus refuses the query ({answer.status}): {told.get('error', '')}.")
        result = told["data"]["result"]
        found: dict[str, list[Sample]] = defaultdict(list)
        for series in result:
            labels = dict(series["metric"])
            sample = labels.pop("__name__"), labels, float(series["value"][1])
            found[labels.get("pod", "")].append(sample)
    except PrometheusError:
        raise
    except (ValueError, KeyError, TypeError, IndexError):
        raise PrometheusError(
            f"What answers at Prometheus' address ({answer.status}) is not its query API. See that the"
            " address is right (spec.monitoring), and that no sign-in page stands before it."
        ) from None
    found.pop("", None)
    if not found:
        raise PrometheusError(
            f"Prometheus has no figures of pods in the namespace {namespace}. See that it takes up the"
            " ServiceMonitor there (spec.monitoring.labels)."
        )
    return dict(found)
