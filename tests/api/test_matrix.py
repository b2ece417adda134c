"""Every endpoint by every role. An endpoint without a row here fails, so each new one is decided on."""

import json

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from controlplane.api.views import ApiView
from controlplane.permissions import ROLE_FOR
from tests.api.conftest import Api, assert_problem

pytestmark = pytest.mark.django_db

ROLES = ("viewer", "operator", "admin")
VIEW, OPERATE, ADMIN = ROLES

KUBECONFIG = json.dumps(
    {
        "kind": "Config",
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    }
)

# (method, address): (least role or None for everybody, body). {} is filled from the world.
ROWS = {
    ("POST", "tokens"): (None, {"username": "x", "password": "y"}),
    ("GET", "projects"): (VIEW, None),
    ("GET", "projects/{project.name}"): (VIEW, None),
    ("GET", "members"): (VIEW, None),
    ("POST", "members"): (ADMIN, {"username": "bob", "role": "viewer", "password": "a long enough one"}),
    ("GET", "members/{member}"): (VIEW, None),
    ("PATCH", "members/{member}"): (ADMIN, {"role": "operator"}),
    ("DELETE", "members/{member}"): (ADMIN, None),
    ("GET", "api-keys"): (VIEW, None),
    ("POST", "api-keys"): (ADMIN, {"name": "new", "role": "viewer"}),
    ("GET", "api-keys/{api_key}"): (VIEW, None),
    ("DELETE", "api-keys/{api_key}"): (ADMIN, None),
    ("GET", "audit"): (VIEW, None),
    ("GET", "operations"): (VIEW, None),
    ("GET", "operations/{operation.pk}"): (VIEW, None),
    ("GET", "operations/{operation.pk}/events"): (VIEW, None),
    ("POST", "operations/{operation.pk}/cancel"): (OPERATE, None),
    ("POST", "operations/{operation.pk}/retry"): (OPERATE, None),
    ("GET", "providers"): (VIEW, None),
    ("GET", "providers/local"): (VIEW, None),
    ("GET", "accounts"): (VIEW, None),
    ("POST", "accounts"): (
        ADMIN,
        {"name": "other", "provider": "kubernetes", "credentials": {"kubeconfig": KUBECONFIG}},
    ),
    ("GET", "accounts/{account}"): (VIEW, None),
    ("PATCH", "accounts/{account}"): (ADMIN, {"name": "renamed"}),
    ("DELETE", "accounts/{account}"): (ADMIN, None),
    ("POST", "accounts/{account}/check"): (OPERATE, None),
    ("GET", "targets"): (VIEW, None),
    ("POST", "targets"): (OPERATE, {"name": "beta", "provider": "local"}),
    ("GET", "targets/{target.name}"): (VIEW, None),
    ("PATCH", "targets/{target.name}"): (OPERATE, {"role": "secondary"}),
    ("DELETE", "targets/{target.name}"): (ADMIN, {"confirm": "alpha"}),
    ("POST", "targets/{target.name}/plans"): (OPERATE, {}),
    ("GET", "plans/{plan.pk}"): (VIEW, None),
    ("POST", "plans/{plan.pk}/apply"): (OPERATE, None),
    ("GET", "releases"): (VIEW, None),
    ("POST", "releases"): (OPERATE, {"image": "aindusdb/api:9.9"}),
    ("GET", "releases/v1"): (VIEW, None),
    ("GET", "targets/{target.name}/rollouts"): (VIEW, None),
    ("POST", "targets/{target.name}/rollouts"): (OPERATE, {"release": "v1"}),
    ("GET", "rollouts/{rollout.pk}"): (VIEW, None),
    ("GET", "rollouts/{rollout.pk}/analyses"): (VIEW, None),
    ("POST", "rollouts/{rollout.pk}/abort"): (OPERATE, None),
    ("POST", "rollouts/{rollout.pk}/promote"): (OPERATE, {"full": True}),
    ("POST", "rollouts/{rollout.pk}/pause"): (OPERATE, None),
    ("POST", "rollouts/{rollout.pk}/resume"): (OPERATE, None),
    ("POST", "targets/{target.name}/rollback"): (OPERATE, {}),
    ("POST", "targets/{target.name}/scale"): (OPERATE, {"replicas": 1}),
    ("POST", "targets/{target.name}/restart"): (OPERATE, None),
    ("POST", "targets/{target.name}/rotate"): (OPERATE, None),
    ("POST", "targets/{target.name}/collection-jobs"): (
        OPERATE,
        {"collection": "docs", "job": "index.build"},
    ),
    ("GET", "targets/{target.name}/drift"): (VIEW, None),
    ("POST", "targets/{target.name}/drift/check"): (OPERATE, None),
    ("GET", "drift/{finding.pk}"): (VIEW, None),
    ("POST", "drift/{finding.pk}/revert"): (OPERATE, {"reason": "why"}),
    ("POST", "drift/{finding.pk}/adopt"): (OPERATE, {"reason": "why"}),
    ("POST", "drift/{finding.pk}/ignore"): (OPERATE, {"reason": "why"}),
    ("POST", "drift-decisions/{decision.pk}/undo"): (OPERATE, None),
    ("POST", "targets/{target.name}/backup"): (OPERATE, {}),
    ("GET", "targets/{target.name}/backups"): (VIEW, None),
    ("GET", "targets/{target.name}/backup-schedule"): (VIEW, None),
    ("PUT", "targets/{target.name}/backup-schedule"): (OPERATE, {"cron": "0 3 * * *"}),
    ("POST", "targets/{target.name}/restore"): (OPERATE, {"backup": "{backup.pk}"}),
    ("GET", "targets/{target.name}/restores"): (VIEW, None),
    ("GET", "backups/{backup.pk}"): (VIEW, None),
    ("DELETE", "backups/{backup.pk}"): (ADMIN, None),
    ("GET", "restores/{restore.pk}"): (VIEW, None),
    ("POST", "restores/{restore.pk}/confirm"): (ADMIN, None),
    ("POST", "restores/{restore.pk}/undo"): (ADMIN, {"confirm": "alpha"}),
    ("GET", "targets/{target.name}/replicas"): (VIEW, None),
    ("GET", "targets/{target.name}/events"): (VIEW, None),
    ("GET", "targets/{target.name}/health"): (VIEW, None),
    ("GET", "targets/{target.name}/metrics"): (VIEW, None),
    ("GET", "targets/{target.name}/logs"): (VIEW, None),
    ("GET", "targets/{target.name}/manifests"): (VIEW, None),
    ("GET", "costs/report"): (VIEW, None),
    ("GET", "costs/comparison"): (VIEW, None),
    ("GET", "costs/forecast"): (VIEW, None),
    ("GET", "costs/anomalies"): (VIEW, None),
    ("GET", "costs/records"): (VIEW, None),
    ("GET", "fleets"): (VIEW, None),
    ("POST", "fleets"): (OPERATE, {"name": "world"}),
    ("GET", "fleets/{fleet.name}"): (VIEW, None),
    ("PATCH", "fleets/{fleet.name}"): (OPERATE, {"members": [{"target": "alpha", "role": "secondary"}]}),
    ("DELETE", "fleets/{fleet.name}"): (OPERATE, None),
    ("GET", "fleets/{fleet.name}/rollouts"): (VIEW, None),
    ("POST", "fleets/{fleet.name}/rollouts"): (OPERATE, {"release": "v1", "max_parallel": 2}),
    ("GET", "fleet-rollouts/{fleet_rollout.pk}"): (VIEW, None),
    ("POST", "fleet-rollouts/{fleet_rollout.pk}/abort"): (OPERATE, None),
    ("POST", "fleet-rollouts/{fleet_rollout.pk}/pause"): (OPERATE, None),
    ("POST", "fleet-rollouts/{fleet_rollout.pk}/resume"): (OPERATE, None),
    ("GET", "costs/sources"): (VIEW, None),
    ("POST", "costs/sources"): (ADMIN, {"name": "cur", "kind": "s3", "config": {"bucket": "bill"}}),
    ("GET", "costs/sources/{cost_source}"): (VIEW, None),
    ("PATCH", "costs/sources/{cost_source}"): (ADMIN, {"enabled": False}),
    ("DELETE", "costs/sources/{cost_source}"): (ADMIN, None),
    ("POST", "costs/sources/{cost_source}/sync"): (OPERATE, None),
    ("GET", "costs/sources/{cost_source}/months"): (VIEW, None),
    ("GET", "costs/imports"): (VIEW, None),
    ("POST", "costs/imports"): (OPERATE, None),
    ("GET", "costs/imports/{cost_import}"): (VIEW, None),
    ("GET", "costs/exchange-rates"): (VIEW, None),
    ("POST", "costs/exchange-rates"): (
        OPERATE,
        {"date": "2026-11-01", "from_currency": "EUR", "to_currency": "GBP", "rate": "0.86"},
    ),
    ("GET", "costs/exchange-rates/{rate}"): (VIEW, None),
    ("DELETE", "costs/exchange-rates/{rate}"): (OPERATE, None),
    ("GET", "costs/prices"): (VIEW, None),
    ("POST", "costs/prices"): (OPERATE, {"cloud": "aws", "region": "us-east-1"}),
    ("GET", "costs/node-prices"): (VIEW, None),
    ("POST", "costs/node-prices"): (
        OPERATE,
        {"provider": "local", "cpus": 4, "memory_gib": 16, "price": {"amount": "0.2", "currency": "EUR"}},
    ),
    ("DELETE", "costs/node-prices/{node_price}"): (OPERATE, None),
    ("GET", "costs/estimates"): (VIEW, None),
    ("POST", "costs/estimates"): (
        OPERATE,
        {"resources": [{"cloud": "aws", "region": "us-east-1", "kind": "node", "sku": "m6g.xlarge"}]},
    ),
    ("GET", "costs/estimates/{estimate}"): (VIEW, None),
    ("DELETE", "costs/estimates/{estimate}"): (OPERATE, None),
    ("GET", "costs/budgets"): (VIEW, None),
    ("POST", "costs/budgets"): (OPERATE, {"name": "all", "amount": "100", "currency": "USD"}),
    ("GET", "costs/budgets/{budget}"): (VIEW, None),
    ("PATCH", "costs/budgets/{budget}"): (OPERATE, {"amount": "200"}),
    ("DELETE", "costs/budgets/{budget}"): (OPERATE, None),
    ("GET", "costs/budgets/{budget}/alerts"): (VIEW, None),
    ("GET", "costs/alert-channels"): (OPERATE, None),
    ("POST", "costs/alert-channels"): (
        ADMIN,
        {"name": "ops", "kind": "webhook", "url": "https://hooks.example.org/x"},
    ),
    ("GET", "costs/alert-channels/{channel}"): (OPERATE, None),
    ("DELETE", "costs/alert-channels/{channel}"): (ADMIN, None),
    ("POST", "costs/alert-channels/{channel}/test"): (OPERATE, None),
    ("GET", "costs/recommendations"): (VIEW, None),
    ("POST", "costs/recommendations"): (OPERATE, None),
    ("GET", "costs/recommendations/{recommendation}"): (VIEW, None),
    ("POST", "costs/recommendations/{recommendation}/accept"): (OPERATE, None),
    ("POST", "costs/recommendations/{recommendation}/dismiss"): (OPERATE, {"reason": "It is needed."}),
    ("POST", "costs/recommendations/{recommendation}/snooze"): (OPERATE, {"days": 7}),
    ("POST", "costs/recommendations/{recommendation}/reopen"): (OPERATE, None),
    ("GET", "costs/unit-costs"): (VIEW, None),
}
# What another project's administrator is not told to be absent, because it is not the project's own.
SHARED = {
    "tokens",
    "projects",
    "members",
    "api-keys",
    "audit",
    "operations",
    "providers",
    "providers/local",
    "accounts",
    "targets",
    "releases",
    "fleets",
    "costs/exchange-rates",
    "costs/prices",
    "costs/node-prices",
    "costs/estimates",
    "costs/budgets",
    "costs/alert-channels",
    "costs/recommendations",
    "costs/unit-costs",
    "costs/imports",
    "costs/sources",
    "costs/report",
    "costs/comparison",
    "costs/forecast",
    "costs/anomalies",
    "costs/records",
}
ADDRESS_OF = {
    "project": "{project.name}",
    "member": "{member}",
    "api_key": "{api_key}",
    "operation": "{operation.pk}",
    "provider": "local",
    "account": "{account}",
    "target": "{target.name}",
    "plan": "{plan.pk}",
    "release": "v1",
    "rollout": "{rollout.pk}",
    "backup": "{backup.pk}",
    "restore": "{restore.pk}",
    "finding": "{finding.pk}",
    "decision": "{decision.pk}",
    "fleet": "{fleet.name}",
    "fleet_rollout": "{fleet_rollout.pk}",
    "rate": "{rate}",
    "node_price": "{node_price}",
    "estimate": "{estimate}",
    "budget": "{budget}",
    "channel": "{channel}",
    "recommendation": "{recommendation}",
    "cost_import": "{cost_import}",
    "cost_source": "{cost_source}",
}


def endpoints():
    """(method, address) of every REST view, from the URL table."""

    def walk(resolver, prefix):
        for pattern in resolver.url_patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern, route)
            elif isinstance(pattern, URLPattern):
                view = getattr(pattern.callback, "cls", None)
                if view is not None and issubclass(view, ApiView):
                    yield view, route

    for view, route in walk(get_resolver(), ""):
        address = route.removeprefix("api/v1/")
        for name, filled in ADDRESS_OF.items():
            address = address.replace(f"<str:{name}>", filled)
        for method in view.routes:
            yield method, address, view


def filled(address, world, user):
    key = world.project.api_keys.create(name="spare", role="viewer", prefix="ak_", digest="d")
    rate = world.project.exchange_rates.create(
        date="2026-11-01", from_currency="EUR", to_currency="USD", rate="1.08"
    )
    project = world.project
    planned = {
        "node_price": project.node_prices.create(
            provider="kubernetes", cpus=4, memory_gib=16, amount="0.1", currency="USD"
        ),
        "estimate": project.estimates.create(name="e"),
        "budget": project.budgets.create(name="b", amount=1, currency="USD"),
        "recommendation": project.recommendations.create(
            cloud="AWS",
            type="arm64",
            resource="i-1",
            amount=1,
            cost=2,
            currency="USD",
            summary="Smaller.",
            implementation={"steps": [], "effort": "low", "restart": False, "reversible": True, "spec": {}},
            seen_at="2026-11-01T00:00:00Z",
        ),
        "channel": project.alert_channels.create(name="c", kind="email", recipients=["a@example.org"]),
    }
    world_values = {**vars(world), "member": user.username, "api_key": key.pk, "rate": rate.pk}
    world_values |= {name: row.pk for name, row in planned.items()}
    source = world.project.cost_sources.create(name="bill", kind="upload", created_by="test")
    world_values["cost_source"] = source.pk
    world_values["cost_import"] = source.imports.create(created_by="test").pk
    account = project.accounts.create(name="spare", provider="kubernetes", created_by="x")
    world_values["account"] = account.pk
    return address.format(**world_values)


def test_every_endpoint_has_a_row():
    found = {(method, address) for method, address, _ in endpoints()}
    assert found == set(ROWS)


def test_the_table_of_actions_is_used_up():
    used = {view.routes[method].action for method, _, view in endpoints()}
    assert used - {None} | {"target.protect"} == set(ROLE_FOR)


def test_the_rows_agree_with_the_table():
    for method, address, view in endpoints():
        action = view.routes[method].action
        assert ROWS[method, address][0] == (ROLE_FOR[action].value if action else None)


@pytest.mark.parametrize(("method", "address"), ROWS)
@pytest.mark.parametrize("role", [*ROLES, "anonymous", "bad key", "other project"])
def test_who_may_do_what(method, address, role, world, user, key_of, stranger):
    least, body = ROWS[method, address]
    path = filled(address, world, user)
    if body and "backup" in body:
        body = {"backup": world.backup.pk}
    if role == "anonymous":
        api = Api()
    elif role == "bad key":
        api = Api("ak_this-is-no-key")
    elif role == "other project":
        api = stranger
    else:
        api = Api(key_of(role))
    answer = api.call(method, path, body)
    if least is None:
        assert_problem(answer, 401, "wrong_credentials")
    elif role == "anonymous":
        assert_problem(answer, 401, "unauthenticated")
    elif role == "bad key":
        assert_problem(answer, 401, "invalid_token")
    elif role == "other project":
        if address in SHARED:
            # 422 is told to whoever sends no file where one is due.
            assert answer.status_code < 400 or answer.status_code in (409, 422), answer.content
            assert world.target.pk not in answer.content.decode()
            assert world.operation.pk not in answer.content.decode()
        else:
            assert_problem(answer, 404, "not_found")
    elif ROLES.index(role) < ROLES.index(least):
        body = assert_problem(answer, 403, "forbidden")
        assert least in body["detail"] and role in body["detail"]
    else:
        assert answer.status_code not in (401, 403, 404, 405) and answer.status_code < 500, answer.content
        if answer.status_code >= 400:
            # The world is not in the state for it, which is told after the role was accepted.
            assert_problem(answer, answer.status_code)
        elif answer.content:
            json.loads(answer.content)
