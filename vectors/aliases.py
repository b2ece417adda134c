"""Aliases: names that stand for a collection and are switched to another in one step.

An alias and a collection never share a name: whoever makes one of either holds the name's lock until its
transaction ends. All changes of one call happen at once, or none.
"""

from typing import NamedTuple

from controlplane.errors import ConflictError, NotFoundError
from vectors import collections, database, names


class Put(NamedTuple):
    """Make an alias, or switch it, to the collection of a name, id or other alias."""

    alias: str
    collection: str

    @property
    def made(self) -> tuple[str, ...]:
        return (self.alias,)


class Drop(NamedTuple):
    """Take an alias away, if there is one."""

    alias: str
    made = ()


class Rename(NamedTuple):
    """Give an alias another name; an alias that had it is taken over."""

    alias: str
    to: str

    @property
    def made(self) -> tuple[str, ...]:
        return (self.to,)


COLUMNS = "a.name, c.name, a.created_at, a.updated_at"
SOURCE = "vectors_alias a JOIN vectors_collection c ON c.id = a.collection_id"


def _alias(row) -> dict:
    return {"alias": row[0], "collection": row[1], "created_at": row[2], "updated_at": row[3]}


def unknown(alias: str) -> NotFoundError:
    return NotFoundError(
        f"There is no alias {alias[:100]!r}; make it with PUT /api/v1/vectors/aliases/{{alias}}.",
        code="unknown_alias",
    )


def aliases_change(changes: list[Put | Drop | Rename]) -> None:
    """Make all changes in their order in one transaction; InvalidError, NotFoundError, ConflictError."""
    made = {name for change in changes for name in change.made}
    for name in made:
        names.check(name, "alias")
    touched = sorted(made | {change.alias for change in changes if "\0" not in change.alias})

    def work(connection: database.Connection) -> None:
        with connection.db.transaction():
            # In one order, so that two calls wait for each other.
            for name in touched:
                names.lock(connection.db, name)
            taken = connection.db.execute(
                "SELECT name FROM vectors_collection WHERE name = ANY(%s) LIMIT 1", [list(made)]
            ).fetchone()
            if taken:
                raise ConflictError(
                    f"A collection {taken[0]} exists already: an alias needs a name of its own.",
                    code="exists",
                    field="alias",
                )
            for change in changes:
                _change(connection.db, change)

    database.pool().call(work)
    for name in touched:
        collections.collection_forget(name)


def _change(db, change: Put | Drop | Rename) -> None:
    if "\0" in change.alias:
        if isinstance(change, Rename):
            raise unknown(change.alias)
    elif isinstance(change, Drop):
        db.execute("DELETE FROM vectors_alias WHERE name = %s", [change.alias])
    elif isinstance(change, Rename):
        if change.alias != change.to:
            db.execute("DELETE FROM vectors_alias WHERE name = %s", [change.to])
        renamed = db.execute(
            "UPDATE vectors_alias SET name = %s, updated_at = now() WHERE name = %s",
            [change.to, change.alias],
        )
        if not renamed.rowcount:
            raise unknown(change.alias)
    else:
        condition, parameters = collections.named(change.collection)
        # Kept from being deleted until the alias is there, so that the deletion takes the alias along.
        row = db.execute(
            f"SELECT c.id FROM vectors_collection c WHERE {condition} FOR KEY SHARE", parameters
        ).fetchone()
        if row is None:
            raise collections.unknown(change.collection)
        db.execute(
            "INSERT INTO vectors_alias (name, collection_id, created_at, updated_at)"
            " VALUES (%s, %s, now(), now()) ON CONFLICT (name) DO UPDATE"
            " SET collection_id = excluded.collection_id, updated_at = excluded.updated_at",
            [change.alias, row[0]],
        )


def alias_put(*, alias: str, collection: str) -> dict:
    """Make an alias or switch it; what it is then."""
    aliases_change([Put(alias, collection)])
    return alias_get(alias)


def alias_get(alias: str) -> dict:
    """{alias, collection, created_at, updated_at}; NotFoundError."""
    with database.pool().connection() as connection:
        row = None
        if "\0" not in alias:
            row = connection.db.execute(
                f"SELECT {COLUMNS} FROM {SOURCE} WHERE a.name = %s", [alias]
            ).fetchone()
    if row is None:
        raise unknown(alias)
    return _alias(row)


def alias_list(*, limit: int, after: str = "", collection_id=None) -> tuple[list[dict], str | None]:
    """Aliases by name, of all collections or of one, and the name to go on after."""
    condition, parameters = "a.name > %s", [after]
    if collection_id is not None:
        condition += " AND a.collection_id = %s"
        parameters.append(collection_id)
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            f"SELECT {COLUMNS} FROM {SOURCE} WHERE {condition} ORDER BY a.name LIMIT %s",
            [*parameters, limit + 1],
        ).fetchall()
    items = [_alias(row) for row in rows[:limit]]
    return items, items[-1]["alias"] if len(rows) > limit else None


def alias_delete(*, alias: str) -> None:
    """Take an alias away; its collection stays. NotFoundError."""
    gone = 0
    if "\0" not in alias:
        with database.pool().connection() as connection:
            gone = connection.db.execute("DELETE FROM vectors_alias WHERE name = %s", [alias]).rowcount
    collections.collection_forget(alias)
    if not gone:
        raise unknown(alias)
