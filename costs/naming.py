"""Names of what costs are attributed to: reports keep ids, people and filters use names."""

from collections.abc import Iterable
from dataclasses import replace

from costs.reports import Query
from deployments.models import Target
from deployments.selectors import target_find


def resolved(project, query: Query) -> Query:
    """A query whose filter by target names ids; NotFoundError. An empty text stays: it is no target."""
    if "target" not in query.filters:
        return query
    found = tuple(name and target_find(project, name).pk for name in query.filters["target"])
    return replace(query, filters={**query.filters, "target": found})


def named(project, rows: Iterable) -> dict[str, str]:
    """{id: name} of the targets in rows."""
    wanted = {row.keys["target"] for row in rows if row.keys.get("target", "").startswith("tgt_")}
    if not wanted:
        return {}
    return {
        target: name
        for target, name in Target.objects.filter(project=project).values_list("pk", "name")
        if target in wanted
    }
