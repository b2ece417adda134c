"""What is found before anything is applied: each finding with its code and what to do."""

from dataclasses import replace
from datetime import date

import pytest

from deployments.providers.base import Secret
from deployments.runtimes.kubernetes.capacity import quantity
from deployments.runtimes.kubernetes.kinds import kind_named
from deployments.runtimes.kubernetes.preflight import version_of, version_problems
from tests.kubernetes.conftest import access_to, client_of
from tests.simulators.kubernetes import Cluster


def codes(problems) -> set[str]:
    assert all(one.message and one.remedy for one in problems)
    return {one.code for one in problems}


def test_a_good_cluster_has_nothing_to_say(runtime, make):
    assert codes(runtime.preflight(make())) <= {"version_end_of_life"}


@pytest.mark.parametrize(
    ("version", "today", "code", "severity"),
    [
        ("1.27", date(2026, 1, 1), "version_too_old", "error"),
        ("1.31", date(2025, 10, 28), "version_end_of_life", "warning"),
        ("1.31", date(2025, 9, 15), "version_end_of_life", "warning"),
        ("1.31", date(2025, 8, 1), "", ""),
        ("1.99", date(2026, 1, 1), "", ""),
        ("", date(2026, 1, 1), "", ""),
    ],
)
def test_versions_end(version, today, code, severity):
    problems = version_problems(version, today)
    assert [(one.code, one.severity) for one in problems] == ([(code, severity)] if code else [])


def test_vendors_versions_are_read():
    assert version_of({"major": "1", "minor": "30+"}) == (1, 30)
    assert version_of({}) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("2", "2"), ("1Gi", "1073741824"), ("1k", "1000"), (None, "0"), ("x", "0")],
)
def test_quantities(text, value):
    assert str(quantity(text).normalize()) == str(type(quantity(text))(value).normalize())


def test_each_permission_that_is_missing_is_named(cluster, runtime, make):
    made = make(token=cluster.token_for("reader"))
    denials = [
        cluster.access.deny("create", "deployments", user="reader"),
        cluster.access.deny("patch", "deployments", user="reader"),
        cluster.access.deny("get", "pods/log", user="reader"),
        cluster.access.deny("*", "secrets", user="reader"),
    ]
    try:
        problems = runtime.preflight(made)
    finally:
        for denial in denials:
            cluster.access.allow(denial)
    missing = [one for one in problems if one.code == "permission_missing"]
    assert sorted(one.message for one in missing) == [
        "The account may not create, patch deployments of apps.",
        "The account may not get pods/log.",
        "The account may not get, list, create, patch, delete secrets.",
    ]
    assert all(one.severity == "error" for one in missing)
    assert any(
        'apiGroups ["apps"], resources ["deployments"], verbs ["create", "patch"]' in one.remedy
        for one in missing
    )


def test_what_the_spec_needs_of_the_cluster(runtime, make):
    with Cluster(nodes=(("tiny", "1", "2Gi", "a"),)) as bare:
        made = replace(make(), access=access_to(bare))
        asked = {
            "routing": {"mode": "istio", "issuer": "letsencrypt"},
            "storage_class": "gone",
            "database": {"mode": "in_cluster", "engine": "cloudnativepg"},
            "capabilities": {},
        }
        problems = runtime.preflight(replace(made, spec={**made.spec, **asked}))
        found = {(one.code, one.field): one.severity for one in problems}
        assert found["crd_missing", "spec.routing.mode"] == "error"
        assert found["crd_missing", "spec.routing.issuer"] == "error"
        assert found["crd_missing", "spec.database.engine"] == "error"
        assert found["storage_class_missing", "spec.storage_class"] == "error"
        assert found["metrics_missing", "spec.autoscaling"] == "warning"
        assert found["prometheus_missing", "spec.monitoring"] == "warning"
        assert found["capacity", "spec.resources"] == "warning"
        (room,) = [one for one in problems if one.code == "capacity"]
        assert "4 of the API" in room.message


def test_the_namespace_is_looked_at(runtime, make):
    made = make(create_namespace=False)
    assert "namespace_missing" in codes(runtime.preflight(made))
    first = make()
    runtime.apply(first)
    moved = replace(first, spec={**first.spec, "namespace": f"{first.spec['namespace']}-b"})
    (problem,) = [one for one in runtime.preflight(moved) if one.code == "namespace_fixed"]
    assert first.spec["namespace"] in problem.message
    client = client_of(first)
    assert client.get(kind_named("Namespace"), moved.spec["namespace"]) is None


def test_a_cluster_that_does_not_answer_is_the_only_finding(make, runtime):
    made = make()
    gone = replace(made, access=replace(made.access, server="https://127.0.0.1:9"))
    (problem,) = runtime.preflight(gone)
    assert problem.code == "cluster_unreachable"
    denied = replace(made, access=replace(made.access, credentials=Secret({"token": "wrong"})))
    (problem,) = runtime.preflight(denied)
    assert problem.code == "unauthorized"
