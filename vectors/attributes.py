"""What a collection carries beside what is served of it: tags, protection, declared fields.

The compatible endpoints keep here what a vendor's client said of a collection and expects to read again.
"""

from psycopg.types.json import Jsonb

from controlplane import ids
from vectors import database
from vectors.collections import Collection


def attributes_of(public_ids: list[str]) -> dict[str, dict]:
    """The attributes of collections, by public id."""
    wanted = [ids.decode("col", public_id) for public_id in public_ids]
    with database.pool().connection() as connection:
        rows = connection.db.execute(
            "SELECT id, attributes FROM vectors_collection WHERE id = ANY(%s)", [wanted]
        ).fetchall()
    return {ids.encode("col", row[0]): row[1] for row in rows}


def attributes_change(collection: Collection, change) -> dict:
    """Set the attributes to change(attributes) under a lock; what they are then."""
    with database.pool().connection() as connection, connection.db.transaction():
        row = connection.db.execute(
            "SELECT attributes FROM vectors_collection WHERE id = %s FOR UPDATE", [collection.id]
        ).fetchone()
        if row is None:
            return {}
        changed = change(row[0])
        connection.db.execute(
            "UPDATE vectors_collection SET attributes = %s, updated_at = now() WHERE id = %s",
            [Jsonb(changed), collection.id],
        )
    return changed
