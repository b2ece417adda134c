"""Namespaces: those that points lie in, and how many there are in each."""

from vectors.clauses import Clause, clause_of
from vectors.collections import Collection
from vectors.database import INT8, Connection


def namespaces_list(
    connection: Connection,
    collection: Collection,
    *,
    prefix: str = "",
    filter: dict | Clause | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> list[tuple[str, int]]:
    """(name, points) by name, behind `after`, up to `limit`; with a filter the points that match it."""
    conditions, parameters = [], []
    if prefix:
        parameters.append(prefix.encode())
        conditions.append(f"starts_with(namespace, ${len(parameters)})")
    if after is not None:
        parameters.append(after.encode())
        conditions.append(f"namespace > ${len(parameters)}")
    if filter is not None:
        text, more = clause_of(filter).sql(len(parameters) + 1)
        conditions.append(text)
        parameters += more
    condition = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"SELECT namespace, count(*) FROM {collection.table}{condition} GROUP BY 1 ORDER BY 1"
    if limit is not None:
        statement += f" LIMIT {limit}"
    result = connection.run(statement, parameters, prepare=False)
    return [
        (result.get_value(row, 0).decode(), INT8(result.get_value(row, 1))[0])
        for row in range(result.ntuples)
    ]
