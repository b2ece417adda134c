"""A collection's points in the order of their keys, page by page: what exports are made of."""

from collections.abc import Iterator

from vectors import collections, database, points
from vectors.collections import Collection
from vectors.transfer import checksums

PAGE_BYTES = 4 * 2**20
PAGE_POINTS = 1000


class Pages:
    """Pages of (namespace, id, vector in binary, content or None, metadata), and the sum of what was read.

    A page is of one moment. Between pages no connection is held and others may write: what is there all
    along comes exactly once.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str | None = None,
        filter: dict | None = None,
        after: tuple[str, str] | None = None,
    ):
        self.name = name
        self.namespace = namespace
        self.filter = filter
        self.after = after
        self.points = 0
        self.sum = 0
        # The module that unpacks the vectors, once a page was read.
        self.form = None

    def __iter__(self) -> Iterator[list[tuple]]:
        collection = collections.collection_get(self.name)
        self.form = collection.form
        limit = max(1, min(PAGE_POINTS, PAGE_BYTES // (collection.dimension * 4)))
        while True:
            page = collections.working_on(self.name, lambda found: self.page(found, limit))  # noqa: B023
            if page:
                namespace, point_id, *_ = page[-1]
                self.after = (namespace.decode(), point_id.decode())
                self.points += len(page)
                self.sum = (self.sum + sum(checksums.digest(*row) for row in page)) % checksums.MODULUS
                yield page
            if len(page) < limit:
                return
            # Contents may be large: the next page has about as many bytes as it should.
            size = sum(sum(len(part or b"") for part in row) for row in page) / len(page)
            limit = max(1, min(PAGE_POINTS, int(PAGE_BYTES / size)))

    def page(self, collection: Collection, limit: int) -> list[tuple]:
        conditions, parameters = points.where(self.namespace, self.filter)
        if self.after is not None:
            conditions.append(f"(namespace, id) > (${len(parameters) + 1}, ${len(parameters) + 2})")
            parameters += [part.encode() for part in self.after]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = (
            f"SELECT namespace, id, embedding, content, metadata::text FROM {collection.table}{where}"
            f" ORDER BY namespace, id LIMIT {limit}"
        )
        result = database.pool().call(lambda connection: connection.run(statement, parameters, prepare=False))
        return [tuple(result.get_value(row, column) for column in range(5)) for row in range(result.ntuples)]

    @property
    def checksum(self) -> str:
        return checksums.text_of(self.sum)
