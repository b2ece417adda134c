"""Prometheus Operator objects, where the cluster has their kinds: what is scraped, when to wake whom."""

from deployments.runtimes.kubernetes.manifests.place import APP, OWNER_LABEL, Place, pairs


def monitoring(place: Place) -> list[dict]:
    """A ServiceMonitor and a PrometheusRule; nothing where the spec or the cluster has none."""
    part = place.part("monitoring")
    if not (part.get("enabled", True) and place.has("prometheus")):
        return []
    labels = pairs(part.get("labels") or [])
    seconds = f"{part.get('scrape_seconds', 15)}s"
    return [_monitor(place, labels, seconds), _rules(place, labels, seconds)]


def _monitor(place: Place, labels: dict[str, str], seconds: str) -> dict:
    endpoint = {"port": "http", "path": "/metrics", "interval": seconds, "scrapeTimeout": "10s"}
    if int(seconds[:-1]) < 10:
        endpoint["scrapeTimeout"] = seconds
    # The service of all revisions alone: those of one revision would count each pod twice.
    selector = {
        "matchLabels": place.selector(APP),
        "matchExpressions": [{"key": "aindusdb.io/role", "operator": "DoesNotExist"}],
    }
    spec = {
        "selector": selector,
        "namespaceSelector": {"matchNames": [place.namespace]},
        "podTargetLabels": ["aindusdb.io/role", "aindusdb.io/release", OWNER_LABEL],
        "endpoints": [endpoint],
    }
    return place.document("ServiceMonitor", APP, labels=labels, spec=spec)


def _rules(place: Place, labels: dict[str, str], seconds: str) -> dict:
    where = f'namespace="{place.namespace}"'
    deployments = f'{where},deployment=~"{APP}.*"'
    requests = "aindusdb_api_requests_total"
    duration = "aindusdb_api_request_duration_seconds_bucket"
    rules = [
        _alert(
            "AindusdbUnavailable",
            f"sum(kube_deployment_status_replicas_available{{{deployments}}}) == 0",
            "1m",
            "critical",
            f"No replica of {place.target_name} is available.",
        ),
        _alert(
            "AindusdbReplicasMissing",
            f"kube_deployment_status_replicas_available{{{deployments}}} < "
            f"kube_deployment_spec_replicas{{{deployments}}}",
            "10m",
            "warning",
            f"{place.target_name} has had fewer replicas than it should for 10 minutes.",
        ),
        _alert(
            "AindusdbErrors",
            f'sum(rate({requests}{{{where},status=~"5.*"}}[5m])) / '
            f"sum(rate({requests}{{{where}}}[5m])) > 0.01",
            "5m",
            "critical",
            f"More than 1 % of the requests to {place.target_name} fail.",
        ),
        _alert(
            "AindusdbSlow",
            f"histogram_quantile(0.95, sum by (le) (rate({duration}{{{where}}}[5m]))) > 0.5",
            "10m",
            "warning",
            f"One request in twenty to {place.target_name} takes longer than 0.5 s.",
        ),
        _alert(
            "AindusdbRestarts",
            f'increase(kube_pod_container_status_restarts_total{{{where},container="api"}}[15m]) > 2',
            "0m",
            "warning",
            f"A pod of {place.target_name} keeps restarting.",
        ),
    ]
    groups = [{"name": f"{APP}.{place.namespace}", "interval": seconds, "rules": rules}]
    return place.document("PrometheusRule", APP, labels=labels, spec={"groups": groups})


def _alert(name: str, expression: str, duration: str, severity: str, summary: str) -> dict:
    return {
        "alert": name,
        "expr": expression,
        "for": duration,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
