"""Database and Redis of a target in its cluster, and every shape of target made and removed again."""

from dataclasses import replace

import pytest

from controlplane import ids
from deployments import specs
from deployments.providers.base import ABSENT, SUCCEEDED, Secret, TargetSpec, provider_for
from deployments.runtimes.kubernetes.kinds import kind_named
from tests.kubernetes.conftest import access_to, client_of, ended
from tests.kubernetes.shapes import SPECS, two
from tests.simulators.kubernetes import Cluster


@pytest.fixture
def engine():
    return provider_for("kubernetes")


@pytest.fixture
def make_target(cluster, engine):
    """`make_target(namespace, **spec)`: what the provider is told of a target, its secrets made."""

    def make_target(namespace: str, **spec) -> TargetSpec:
        credentials = engine.accept_credentials({"kubeconfig": cluster.kubeconfig()}).secrets
        whole = specs.validated_spec(engine, {"namespace": namespace, **spec})
        made = TargetSpec(ids.new("tgt"), "search", "cluster", whole, credentials=credentials)
        return replace(made, secrets=engine.prepare(made))

    return make_target


def changed(target: TargetSpec, **spec) -> TargetSpec:
    return replace(target, spec={**target.spec, **spec})


def test_a_database_is_made_guarded_and_removed_with_its_volume(cluster, engine, make_target):
    client = client_of(replace_access(cluster))
    name = "servers-a"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    client.create(kind_named("Namespace"), space)
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
    client.create(kind_named("ConfigMap"), other, name)
    target = make_target(name, create_namespace=False)
    reference = engine.apply(target, "token")
    progress = ended(lambda: engine.observe(target, reference))
    assert progress.state == SUCCEEDED
    assert progress.outputs["capabilities"]["database_engine"] == "statefulset"
    (claim,) = cluster.objects("PersistentVolumeClaim", name)
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    database = target.spec["database"]
    for part, code in (({"version": "18"}, "version_fixed"), ({"storage": "40Gi"}, "storage_fixed")):
        problems = engine.validate(changed(target, database={**database, **part}))
        assert code in {one.code for one in problems if one.severity == "error"}
    # An operator that comes later does not move the data.
    asked = replace(target, capabilities={"cnpg": True})
    assert engine.plan(asked, asked).changes == ()
    larger = changed(target, database={**database, "memory": "4Gi"})
    (change,) = engine.plan(larger, target).changes
    assert (change.action, change.kind) == ("change", "StatefulSet")
    assert set(change.fields) == {
        "spec.template.spec.containers[postgresql].resources.limits.memory",
        "spec.template.spec.containers[postgresql].resources.requests.memory",
    }
    engine.destroy(target, reference, "token")
    assert ended(lambda: engine.observe(target, reference)).state == ABSENT
    assert cluster.objects("PersistentVolumeClaim", name) == []
    assert {one["metadata"]["name"] for one in cluster.objects("ConfigMap", name)} >= {"theirs"}


def replace_access(cluster):
    from tests.kubernetes.shapes import workload

    return replace(workload(), access=access_to(cluster))


def test_urls_of_servers_elsewhere_are_used(engine, make_target):
    target = make_target("servers-b", database={"mode": "external"}, redis={"mode": "external"})
    codes = {(one.field, one.code) for one in engine.validate(target)}
    assert {("spec.database.url", "url_missing"), ("spec.redis.url", "url_missing")} <= codes
    given = {"database_url": "postgresql://u:p@db.example.org/x", "redis_url": "rediss://r.example.org"}
    known = replace(target, secrets=Secret({**target.secrets.values, **given}))
    assert "url_missing" not in {one.code for one in engine.validate(known)}
    kept = engine.prepare(known).values
    assert given.items() <= kept.items()
    assert "database_password" not in kept


@pytest.fixture(scope="module")
def everything():
    with Cluster(
        crds=("istio", "gateway", "prometheus", "cert-manager", "cnpg", "metrics"), speed=20
    ) as made:
        yield made


@pytest.mark.parametrize("shape", SPECS)
def test_every_shape_is_taken_by_an_api_server(everything, engine, runtime, make, shape):
    """Made once, found unchanged, and removed without a trace."""
    made = make(shape, *two())
    known = {**made.spec["capabilities"], "cert-manager": True, "cnpg": True}
    made = replace(made, access=access_to(everything), spec={**made.spec, "capabilities": known})
    credentials = engine.accept_credentials({"kubeconfig": everything.kubeconfig()}).secrets
    target = TargetSpec(made.target_id, "search", "cluster", made.spec, made.secrets, credentials)
    engine.apply(target, "token")
    runtime.apply(made)
    assert runtime.apply(made) == ()
    assert runtime.drift(made) == []
    assert engine.drift(target, {}) == []
    assert ended(lambda: runtime.delete(made)).state == SUCCEEDED
    engine.destroy(target, {}, "token")
    assert ended(lambda: engine.observe(target, {})).state == ABSENT
