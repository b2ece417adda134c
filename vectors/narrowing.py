"""Reads and writes by filter that go through the indexes of declared fields where these save work.

A condition on a field's key costs more than reading on where most rows meet it, so that it is asked for only
when a sample says that few rows match.
"""

from vectors import lists, points, search, updates
from vectors.clauses import Clause, clause_of
from vectors.collections import Collection
from vectors.database import Connection
from vectors.fields import narrowed, narrowing


def chosen(
    connection: Connection, collection: Collection, namespace: str | None, filter: dict | Clause | None
) -> Clause | None:
    """The clause of a filter, with the condition on declared fields when that saves work."""
    if filter is None:
        return None
    clause = clause_of(filter)
    if narrowing(clause.needs, collection.declared) is None or collection.rows <= search.SAMPLE_ROWS:
        return clause
    share = search.matching_share(connection, collection, namespace, lists.looked_up(clause))
    return narrowed(clause, clause.needs, collection.declared, share.all)


def points_count(connection: Connection, collection: Collection, *, namespace, filter) -> int:
    """As points.points_count."""
    clause = chosen(connection, collection, namespace, filter)
    return points.points_count(connection, collection, namespace=namespace, filter=clause)


def points_delete(connection: Connection, collection: Collection, *, namespace, ids=None, filter=None) -> int:
    """As points.points_delete."""
    clause = chosen(connection, collection, namespace, filter)
    return points.points_delete(connection, collection, namespace=namespace, ids=ids, filter=clause)


def points_update(connection: Connection, collection: Collection, *, namespace, select, change) -> list[str]:
    """As updates.points_update."""
    clause = chosen(connection, collection, namespace, select)
    return updates.points_update(connection, collection, namespace=namespace, select=clause, change=change)


def points_update_metadata(
    connection: Connection, collection: Collection, *, namespace, select, change, field="metadata"
) -> int:
    """As updates.points_update_metadata."""
    clause = chosen(connection, collection, namespace, select)
    return updates.points_update_metadata(
        connection, collection, namespace=namespace, select=clause, change=change, field=field
    )
