"""Pods that do not serve: named by their cause within seconds, with the cluster's own words."""

import pytest

from deployments.runtimes.kubernetes.kinds import kind_named
from tests.deployments.conftest import wait_until
from tests.kubernetes.conftest import client_of
from tests.simulators.kubernetes import crash_loop, out_of_memory, pull_error, unready, unschedulable

IMAGE = "aindusdb/api:0.1"
# A second of the cluster is a twentieth of one here.
SECONDS = 10

CASES = {
    "image_pull": (pull_error("manifest unknown: aindusdb/api:0.1"), "manifest unknown"),
    "crash_loop": (crash_loop(exit_code=7, logs=("no database",)), "exit code 7"),
    "unschedulable": (unschedulable("0/3 nodes are available: 3 Insufficient cpu."), "Insufficient cpu"),
    "out_of_memory": (out_of_memory(), "memory"),
    "probe": (unready("HTTP probe failed with statuscode: 503"), "503"),
}


def problem_of(runtime, made, code: str):
    """The revision's problem, once it is one."""
    found = []

    def told() -> bool:
        status = runtime.status(made)
        found[:] = [one.problem for one in status.revisions if one.problem]
        return bool(found) and found[0].code == code

    wait_until(told, SECONDS)
    return found[0]


@pytest.mark.parametrize("code", CASES)
def test_a_pod_that_does_not_serve(cluster, runtime, make, code):
    behaviour, words = CASES[code]
    cluster.pods.behave(IMAGE, behaviour)
    made = make()
    runtime.apply(made)
    problem = problem_of(runtime, made, code)
    assert words in f"{problem.message} {problem.event}"
    assert problem.remedy
    status = runtime.status(made)
    assert {one.problem.code for one in status.pods if one.problem} == {code}
    assert not status.revisions[0].settled


def test_the_stable_revision_is_not_blamed_for_the_canary(cluster, runtime, make):
    from tests.kubernetes.shapes import two

    cluster.pods.behave("aindusdb/api:0.2", pull_error("not found"))
    made = make("standard", *two())
    runtime.apply(made)
    wait_until(lambda: any(one.problem for one in runtime.status(made).revisions), SECONDS)
    wait_until(lambda: runtime.status(made).revisions[0].settled, SECONDS)
    stable, canary = runtime.status(made).revisions
    assert stable.problem is None
    assert canary.problem.code == "image_pull"
    assert "not found" in canary.problem.message


def test_a_quota_that_is_used_up(cluster, runtime, make):
    made = make(create_namespace=False)
    client = client_of(made)
    space = made.spec["namespace"]
    client.create(
        kind_named("Namespace"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    )
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "1"}},
    }
    client.create(kind_named("ResourceQuota"), quota, space)
    runtime.apply(made)
    problem = problem_of(runtime, made, "quota")
    assert "exceeded quota: small" in problem.message
    assert "ResourceQuota" in problem.remedy


def test_a_migration_that_cannot_start_ends_at_once(cluster, runtime, make):
    cluster.pods.behave(IMAGE, pull_error("manifest unknown"))
    made = make()
    found = []
    wait_until(lambda: found.append(runtime.migrate(made, "rel_1")) or found[-1].state != "pending", SECONDS)
    assert found[-1].state == "failed"
    assert "manifest unknown" in found[-1].error
    wait_until(lambda: not cluster.objects("Job", made.spec["namespace"]), SECONDS)
