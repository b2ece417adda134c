"""Drift of a target in a cluster: found per field with who changed it, and each field decided by itself."""

import pytest

from controlplane.errors import ConflictError
from controlplane.models import Project
from deployments.drift.services import drift_adopt, drift_check, drift_ignore, drift_revert
from deployments.providers.base import provider_for
from deployments.services import target_spec
from deployments.workloads import workload_of, workload_runtime
from tests.deployments import in_cluster
from tests.simulators.kubernetes import Cluster
from worker.models import Status

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_field_is_reverted_adopted_or_ignored_and_no_other(transactional_db, run):
    with Cluster(version="1.34", speed=10) as cluster:
        project = Project.objects.create(name="default")
        account = in_cluster.make_account(project, cluster)
        target = in_cluster.make_target(account, in_cluster.make_release(project))
        provider_for("kubernetes").apply(target_spec(target), "test")
        in_cluster.apply(target)
        cluster.settle()
        assert drift_check(target=target) == []
        [deployment] = [one["metadata"]["name"] for one in cluster.objects("Deployment", "remote")]
        [service] = [
            one["metadata"]["name"]
            for one in cluster.objects("Service", "remote")
            if one["metadata"]["name"] == deployment
        ]

        def change(document):
            container = document["spec"]["template"]["spec"]["containers"][0]
            container["resources"]["limits"]["memory"] = "8Gi"
            container["env"].append({"name": "DEBUG", "value": "1"})
            document["spec"]["replicas"] = 3

        def ports(document):
            document["spec"]["ports"][0]["port"] = 81

        def target_port(document):
            document["spec"]["ports"][0]["targetPort"] = 9000

        cluster.edit("Deployment", deployment, "remote", change)
        cluster.edit("Service", service, "remote", ports)
        found = {one.field.rpartition("]")[2].rpartition(".")[2]: one for one in drift_check(target=target)}
        memory, replicas = found["memory"], found["replicas"]
        assert memory.actual == "8Gi" and memory.by == "kubectl-edit" and memory.source == "workload"
        added = next(one for one in found.values() if "DEBUG" in one.field)
        assert added.expected is None

        def live():
            document = cluster.object("Deployment", deployment, "remote")
            container = document["spec"]["template"]["spec"]["containers"][0]
            names = [one["name"] for one in container["env"]]
            return document["spec"]["replicas"], container["resources"]["limits"]["memory"], "DEBUG" in names

        assert live() == (3, "8Gi", True)
        _, operation = drift_revert(finding=replicas, reason="By the spec", requested_by="ada")
        assert run(operation).status == Status.SUCCEEDED, operation.error
        assert live() == (1, "8Gi", True), "nothing else was touched"
        with pytest.raises(ConflictError, match="No field of the spec"):
            drift_adopt(finding=added, reason="It helps", requested_by="ada")
        _, operation = drift_revert(finding=added, reason="Not wanted", requested_by="ada")
        operation = run(operation)
        assert operation.status == Status.SUCCEEDED, operation.error
        assert live() == (1, "8Gi", False)
        drift_adopt(finding=memory, reason="It needs it", requested_by="ada")
        target.refresh_from_db()
        assert target.spec["resources"]["memory_limit"] == "8Gi"
        # The key of a list's item: what is there and what is asked for are no valid object together.
        port = next(one for one in drift_check(target=target) if one.field.endswith(".port"))
        assert (port.expected, port.actual) == (8000, 81)
        _, operation = drift_revert(finding=port, reason="Callers use 8000", requested_by="ada")
        operation = run(operation)
        assert operation.status == Status.SUCCEEDED, operation.error
        assert drift_check(target=target) == []

        # What is ignored is left alone when the workload is applied again.
        cluster.edit("Service", service, "remote", target_port)
        [left] = drift_check(target=target)
        drift_ignore(finding=left, reason="The proxy wants it", requested_by="ada")
        workload_runtime(target).apply(workload_of(target))
        assert cluster.object("Service", service, "remote")["spec"]["ports"][0]["targetPort"] == 9000
        assert [one.state for one in drift_check(target=target)] == ["ignored"]
