"""Workloads of every shape the tests render and apply, from the smallest to each way of routing."""

from dataclasses import replace

from deployments import specs
from deployments.providers.base import ClusterAccess, Secret, provider_for
from deployments.runtimes.workload import CANARY, STABLE, Revision, Workload

SECRETS = {
    "database_url": "postgresql://aindusdb:database-password@aindusdb-postgres.aindusdb.svc:5432/aindusdb",
    "redis_url": "redis://:redis-password@aindusdb-redis.aindusdb.svc:6379/0",
    "jwt_secret": "a-key-of-forty-eight-characters-that-is-for-tests",
    "database_password": "database-password",
    "database_admin_password": "database-admin-password",
    "redis_password": "redis-password",
}
EVERYTHING = dict.fromkeys(("istio", "gateway", "prometheus", "cert-manager", "cnpg", "metrics"), True)
SPECS = {
    "minimal": (
        {
            "replicas": 1,
            "autoscaling": {"enabled": False},
            "database": {"mode": "external"},
            "redis": {"mode": "none"},
            "network_policy": {"enabled": False},
            "monitoring": {"enabled": False},
        },
        {},
    ),
    "standard": ({}, {"metrics": True}),
    "full": (
        {
            "host_spread": "required",
            "zone_spread": "required",
            "service_account_annotations": ["iam.example.org/role=search"],
            "pull_secrets": ["registry"],
            "image_pull": "always",
            "storage_class": "fast",
            "network_policy": {"ingress_cidrs": ["10.1.0.0/16"], "object_storage": True},
            "monitoring": {"labels": ["release=prometheus"], "scrape_seconds": 5},
            "routing": {"mode": "none"},
            "database": {"engine": "statefulset", "version": "18"},
        },
        EVERYTHING,
    ),
    "istio": (
        {
            "routing": {
                "host": "search.example.org",
                "issuer": "letsencrypt",
                "sidecar": True,
                "fault_drill": True,
            }
        },
        EVERYTHING,
    ),
    "gateway": (
        {"routing": {"mode": "gateway", "host": "search.example.org", "gateway_class": "nginx"}},
        EVERYTHING,
    ),
    "shared gateway": ({"routing": {"mode": "gateway", "gateway": "edge/public"}}, {"gateway": True}),
    "cloudnativepg": ({"database": {"instances": 3, "engine": "cloudnativepg"}}, EVERYTHING),
}


def revision(
    role: str = STABLE, number: int = 1, *, replicas: int = 3, weight: int = 100, **config
) -> Revision:
    """A revision of our image."""
    return Revision(role, f"rel_{number}", number, f"aindusdb/api:0.{number}", config, replicas, weight)


def workload(name: str = "standard", *revisions: Revision, **values) -> Workload:
    """A workload of one of the specs, with one revision unless others are given."""
    given, capabilities = SPECS[name]
    engine = provider_for("kubernetes")
    spec, _ = specs.withheld(dict(engine.spec_schema), specs.validated_spec(engine, given))
    made = Workload(
        target_id="tgt_01arz3ndektsv4rrffq69g5fav",
        target_name="search",
        region="cluster",
        provider="kubernetes",
        spec={**spec, "capabilities": capabilities},
        access=ClusterAccess("https://127.0.0.1:9"),
        secrets=Secret(SECRETS),
        revisions=revisions or (revision(replicas=spec["replicas"]),),
    )
    return replace(made, **values)


def two(stable: int = 90) -> tuple[Revision, Revision]:
    """A stable revision and a canary that takes the rest."""
    return revision(weight=stable), revision(CANARY, 2, replicas=1, weight=100 - stable, env={"A": "b"})
