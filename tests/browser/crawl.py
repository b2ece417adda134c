"""Every page of the dashboard by name, for the screenshots and the tests that visit all of them."""

from collections.abc import Iterator


def pages(facts: dict) -> Iterator[tuple[str, str]]:
    """(name, address) of each page; `facts` names the things of a seeded installation."""
    target = f"/targets/{facts['target']}/"
    data = f"{target}data/{facts['collection']}/"
    yield "overview", "/"
    yield "targets", "/targets/"
    yield "targets-none", "/targets/?q=nothing-like-this"
    yield "new-target", "/new-target/"
    yield "plan", f"/plans/{facts['plan']}/"
    yield "target", target
    yield "target-operations", f"{target}operations/"
    yield "target-rollouts", f"{target}rollouts/"
    yield "target-health", f"{target}health/"
    yield "target-logs", f"{target}logs/"
    yield "target-metrics", f"{target}metrics/?range=24h"
    yield "target-data", f"{target}data/"
    yield "target-backups", f"{target}backups/"
    yield "target-backups-none", f"/targets/{facts['second']}/backups/"
    yield "backup", f"{target}backups/{facts['backup']}/"
    yield "backup-restore", f"{target}backups/{facts['backup']}/restore/"
    yield "backup-schedule", f"{target}backup-schedule/"
    yield "target-infrastructure", f"{target}infrastructure/"
    yield "target-drift", f"{target}drift/"
    yield "target-change", f"{target}change/"
    yield "target-settings", f"{target}settings/"
    yield "target-pending", f"/targets/{facts['pending']}/"
    yield "roll-out", f"{target}roll-out/"
    yield "roll-back", f"{target}roll-back/"
    yield "scale", f"{target}scale/"
    yield "restart", f"{target}restart/"
    yield "destroy", f"{target}destroy/"
    yield "fleets", "/fleets/"
    yield "fleet", f"/fleets/{facts['fleet']}/"
    yield "fleet-new", "/new-fleet/"
    yield "fleet-edit", f"/fleets/{facts['fleet']}/edit/"
    yield "fleet-roll-out", f"/fleets/{facts['fleet']}/roll-out/"
    yield "fleet-rollout", f"/fleet-rollouts/{facts['fleet_rollout']}/"
    yield "operations", "/operations/"
    yield "operation-failed", f"/operations/{facts['failed_operation']}/"
    yield "operation-done", f"/operations/{facts['operation']}/"
    if facts.get("running_operation"):
        yield "operation-running", f"/operations/{facts['running_operation']}/"
    yield "rollout", f"/rollouts/{facts['rollout']}/"
    yield "rollout-failed", f"/rollouts/{facts['failed_rollout']}/"
    yield "collection", data
    yield "collection-search", f"{data}search/"
    yield (
        "collection-results",
        f"{data}search/?by=id&id={facts['point']}&top_k=8&include=content&include=metadata",
    )
    yield (
        "collection-hybrid",
        f"{data}search/?by=id&id={facts['point']}&text=restoring+backup&fusion=weighted&include=content",
    )
    yield "collection-picture-scale", f"{data}picture/?color=length"
    yield "collection-points", f"{data}points/"
    yield "collection-points-filtered", f'{data}points/?filter={{"section":"billing","revision":{{"$gt":2}}}}'
    yield "collection-point", f"{data}point/?id={facts['point']}"
    yield "collection-namespaces", f"{data}namespaces/"
    yield "collection-picture", f"{data}picture/"
    yield "collection-recall", f"{data}recall/"
    yield "collection-transfer", f"{data}transfer/"
    yield "collection-import", f"{data}transfer/?operation={facts['import']}"
    yield "collection-settings", f"{data}settings/"
    yield "collection-build", f"{data}build/"
    yield "collection-new", f"{target}new-collection/"
    yield "target-jobs", f"{target}jobs/"
    yield "collection-drop", f"{data}drop/"
    yield "costs-estimates", "/costs/estimates/?cloud=aws&region=us-east-1&preset=standard"
    yield "costs-prices", "/costs/prices/"
    yield "costs-units", "/costs/units/"
    yield "costs-recommendations", "/costs/recommendations/"
    yield "costs-budgets", "/costs/budgets/"
    yield "costs-budget-new", "/costs/budgets/new/"
    yield "costs-channels", "/costs/alert-channels/"
    if facts.get("budget"):
        yield "costs-budget", f"/costs/budgets/{facts['budget']}/"
        yield "costs-estimate", f"/costs/estimates/{facts['estimate']}/"
        yield "costs-recommendation", f"/costs/recommendations/{facts['recommendation']}/"
    yield "members", "/settings/members/"
    yield "member-add", "/settings/members/new/"
    yield "api-keys", "/settings/api-keys/"
    yield "audit", "/settings/audit/"
    yield "appearance", "/settings/appearance/"
    yield "not-found", "/targets/no-such-target/"
