"""Targets in the simulated cluster: their rows and objects, made past the operations that make them."""

from controlplane import ids
from deployments import specs
from deployments.models import Account, Release, Target, TargetStatus
from deployments.providers.base import PENDING, Secret, TargetSpec, provider_for
from deployments.providers.local.provider import LocalProvider
from deployments.runtimes.base import ReplicaSpec, runtime_for
from deployments.workloads import workload_of, workload_runtime
from worker.engine import database_now

JWT_SECRET = "target-secret-" * 4
NOWHERE = "postgresql://nobody:secret-password@127.0.0.1:1/nothing"


def make_account(project, cluster, name: str = "cluster", *, certificate: bool = False) -> Account:
    """An account with the cluster's kubeconfig, by token or client certificate."""
    given = {"kubeconfig": cluster.kubeconfig(certificate=certificate)}
    accepted = provider_for("kubernetes").accept_credentials(given)
    return Account.objects.create(
        project=project,
        name=name,
        provider="kubernetes",
        credentials=dict(accepted.secrets.values),
        details=dict(accepted.shown),
        created_by="test",
    )


def make_release(project, number: int = 1, image: str = "registry.example/aindusdb:1") -> Release:
    return Release.objects.create(
        project=project, number=number, image=image, digest=f"{number:064x}", created_by="test"
    )


def make_target(account: Account, release: Release, name: str = "remote", **values) -> Target:
    """A target that is ready, whose spec is what `spec` lays over a small one."""
    small = {
        "namespace": name,
        "replicas": 1,
        "autoscaling": {"enabled": False},
        "database": {"mode": "external"},
        "redis": {"mode": "none"},
        "monitoring": {"enabled": False},
    }
    engine = provider_for("kubernetes")
    spec = specs.with_defaults(dict(engine.spec_schema), small | values.pop("spec", {}))
    given = {"database_url": NOWHERE, "jwt_secret": JWT_SECRET} | values.pop("secrets", {})
    return Target.objects.create(
        project=account.project,
        name=name,
        provider="kubernetes",
        account=account,
        region="cluster",
        spec=spec,
        secrets=given,
        desired_replicas=spec["replicas"],
        release=release,
        created_by="test",
        **{"status": TargetStatus.READY, "ready_at": database_now()} | values,
    )


def apply(target: Target) -> None:
    """Have the cluster run the target's release."""
    workload_runtime(target).apply(workload_of(target))


def vector_database() -> str:
    """The URL of a new database with the schema of the vectors."""
    owner = ids.new("tgt")
    provider = LocalProvider()
    spec = TargetSpec(owner, "made", "local", {"connection_limit": -1})
    secrets = provider.prepare(spec)
    provider.apply(TargetSpec(owner, "made", "local", dict(spec.spec), secrets), "token")
    url = secrets.values["database_url"]
    wanted = ReplicaSpec(
        replica_id="",
        target_id=owner,
        target_name="made",
        region="local",
        provider="local",
        release="",
        image="",
        config={},
        secrets=Secret({"database_url": url, "jwt_secret": JWT_SECRET}),
        host="",
        port=0,
    )
    while (progress := runtime_for("processes").migrate(wanted)).state == PENDING:
        pass
    assert not progress.error, progress.error
    return url
