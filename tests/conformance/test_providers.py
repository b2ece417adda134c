"""What every provider must hold, run over the registry: a new folder there is tested at once."""

import json
import logging
import secrets

import psycopg
import pytest

from controlplane import ids
from controlplane.errors import InvalidError
from deployments import specs
from deployments.providers.base import (
    ABSENT,
    FAILED,
    PENDING,
    SUCCEEDED,
    PlanResult,
    Problem,
    Progress,
    Provider,
    Secret,
    TargetSpec,
    as_json,
    provider_for,
    provider_names,
)
from deployments.runtimes.base import runtime_for
from tests.deployments.conftest import drop_target_databases, target_databases, wait_until
from tests.simulators.kubernetes import Cluster

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def cluster():
    """What the provider `kubernetes` finds: a simulated API server."""
    with Cluster(crds=("metrics",), speed=20) as made:
        yield made


@pytest.fixture(params=provider_names())
def provider(request, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    yield provider_for(request.param)
    drop_target_databases(settings.DATABASE_URL)


@pytest.fixture
def credentials(provider, request):
    """What an account of the provider keeps; nothing where none is needed."""
    if provider.name != "kubernetes":
        return Secret({})
    kubeconfig = request.getfixturevalue("cluster").kubeconfig()
    return provider.accept_credentials({"kubeconfig": kubeconfig}).secrets


@pytest.fixture
def target(provider, credentials):
    """A target of the provider with every default, and the secrets it wants kept."""
    given = {"namespace": f"t{secrets.token_hex(4)}"} if provider.name == "kubernetes" else {}
    spec = specs.validated_spec(provider, given)
    bare = TargetSpec(ids.new("tgt"), "one", provider.regions[0], spec, credentials=credentials)
    return with_secrets(bare, provider.prepare(bare))


def with_secrets(target, known, **values):
    given = {
        "region": target.region,
        "spec": target.spec,
        "secrets": known,
        "credentials": target.credentials,
    } | values
    return TargetSpec(target.target_id, target.name, **given)


def make(provider, target, token="token-1"):
    reference = provider.apply(target, token)
    observed = []
    wait_until(lambda: observed.append(provider.observe(target, reference)) or settled(observed[-1]), 60)
    return reference, observed[-1]


def settled(progress):
    assert progress.state in (PENDING, SUCCEEDED, FAILED, ABSENT)
    return progress.state != PENDING


def test_declares_what_callers_need(provider):
    assert isinstance(provider, Provider)
    assert provider.label
    assert provider.regions
    assert runtime_for(provider.runtime).name == provider.runtime
    for name, part in provider.spec_schema["properties"].items():
        assert {"title", "description", "default"} <= set(part), name
    assert provider.presets
    for preset in provider.presets.values():
        specs.validated_spec(provider, preset["spec"])


def test_unknown_fields_are_refused(provider):
    assert provider.spec_schema["additionalProperties"] is False
    with pytest.raises(InvalidError) as caught:
        specs.validated_spec(provider, {"no_such_field": 1})
    assert caught.value.errors[0]["field"] == "spec.no_such_field"
    assert caught.value.errors[0]["code"] == "unknown_field"


def test_validate_and_plan_tell_in_words(provider, target):
    problems = provider.validate(target)
    assert all(isinstance(problem, Problem) and problem.message and problem.remedy for problem in problems)
    result = provider.plan(target, None)
    assert isinstance(result, PlanResult)
    assert result.changes
    assert {change.action for change in result.changes} == {"create"}
    json.dumps([as_json(change) for change in result.changes])


def test_nothing_changed_is_an_empty_plan(provider, target):
    make(provider, target)
    assert provider.plan(target, target).changes == ()


def test_prepare_keeps_what_is_known(provider, target):
    assert provider.prepare(target).values == target.secrets.values
    other = TargetSpec(ids.new("tgt"), "two", target.region, target.spec)
    assert provider.prepare(other).values != target.secrets.values


def test_create_twice_is_one_resource(provider, target):
    first, progress = make(provider, target)
    assert progress.state == SUCCEEDED, progress
    second, again = make(provider, target)
    assert dict(first) == dict(second)
    assert dict(progress.outputs) == dict(again.outputs)
    assert provider.drift(target, second) == []
    json.dumps(dict(second))


def test_delete_twice_is_fine(provider, target):
    reference, _ = make(provider, target)
    for _ in range(2):
        provider.destroy(target, reference, "token-2")
        wait_until(lambda: settled(provider.observe(target, reference)), 60)
        assert provider.observe(target, reference).state == ABSENT


def test_delete_of_what_was_never_made(provider, target):
    provider.destroy(target, {}, "token-2")
    assert provider.observe(target, {}).state == ABSENT


def test_a_secret_reaches_no_repr_and_no_log(provider, target, caplog):
    caplog.set_level(logging.DEBUG)
    reference, progress = make(provider, target)
    drifts = provider.drift(target, reference)
    plan = provider.plan(target, None)
    problems = provider.validate(target)
    shown = "\n".join(
        [caplog.text, *map(repr, (target, reference, progress, drifts, plan, problems, provider))]
    )
    hidden = [
        *target.secrets.values.values(),
        *progress.secrets.values.values(),
        *(target.credentials.values.get(name) for name in ("token", "client_key")),
    ]
    assert any(hidden)
    for value in filter(None, hidden):
        assert value not in shown


def test_secret_shows_its_names_only():
    assert repr(Secret({"password": "hidden"})) == "Secret(password)"
    assert "hidden" not in repr(Progress(SUCCEEDED, secrets=Secret({"password": "hidden"})))


class TestLocal:
    """What only the provider `local` can be asked."""

    @pytest.fixture
    def made(self, settings, tmp_path):
        settings.DATA_DIR = tmp_path
        provider = provider_for("local")
        targets = []
        for name in ("one", "two"):
            bare = TargetSpec(ids.new("tgt"), name, "local", {"replicas": 2, "connection_limit": -1})
            target = with_secrets(bare, provider.prepare(bare))
            provider.apply(target, "t")
            targets.append(target)
        yield provider, *targets
        drop_target_databases(settings.DATABASE_URL)

    def test_one_target_cannot_reach_the_other(self, made, settings):
        provider, one, two = made
        url = one.secrets.values["database_url"]
        name = provider.observe(two, {}).outputs["database"]
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT '[1,2]'::vector <-> '[1,2]'").fetchone() == (0.0,)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url, dbname=name).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url, password="wrong").close()

    def test_no_password_in_the_catalogue_or_the_activity(self, made, settings):
        _, one, _ = made
        password = one.secrets.values["database_password"]
        with psycopg.connect(settings.DATABASE_URL) as connection:
            stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname LIKE 'aindus%'")
            assert all(value.startswith("SCRAM-SHA-256$") for (value,) in stored if value)
            queries = connection.execute("SELECT query FROM pg_stat_activity").fetchall()
        assert password not in str(queries)

    def test_drift_is_seen_and_mended(self, made, settings):
        provider, one, _ = made
        name = provider.observe(one, {}).outputs["database"]
        with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER')
            connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO PUBLIC')
            connection.execute(f'ALTER ROLE "{name}" NOLOGIN CONNECTION LIMIT 3')
        with psycopg.connect(settings.DATABASE_URL, dbname=name, autocommit=True) as connection:
            connection.execute("DROP EXTENSION vector")
        fields = {drift.field for drift in provider.drift(one, {})}
        assert fields == {"owner", "connect_by_public", "login", "connection_limit", "extension"}
        assert provider.observe(one, {}).state == FAILED
        assert provider.plan(one, one).changes
        provider.apply(one, "t")
        assert provider.drift(one, {}) == []

    def test_destroy_with_somebody_connected(self, made, settings):
        provider, one, two = made
        held = psycopg.connect(one.secrets.values["database_url"])
        provider.destroy(one, {}, "t")
        held.close()
        assert provider.observe(one, {}).state == ABSENT
        assert provider.observe(two, {}).state == SUCCEEDED
        assert len(target_databases(settings.DATABASE_URL)) == 2

    def test_unreachable_server(self, settings):
        settings.DATABASE_URL = "postgresql://nobody@/nothing?host=/nonexistent"
        provider = provider_for("local")
        spec = {"replicas": 2, "connection_limit": -1}
        (problem,) = provider.validate(TargetSpec(ids.new("tgt"), "x", "local", spec))
        assert problem.code == "postgresql_unreachable"
        assert problem.remedy

    def test_too_many_replicas_for_the_server(self, settings):
        provider = provider_for("local")
        spec = {"replicas": 100, "connection_limit": 5}
        problems = provider.validate(TargetSpec(ids.new("tgt"), "x", "local", spec))
        assert {problem.field for problem in problems} == {"spec.replicas", "spec.connection_limit"}
