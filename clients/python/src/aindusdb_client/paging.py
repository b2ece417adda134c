"""Lists that come page by page."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from aindusdb_client.models import Page

T = TypeVar("T")
MOST_ITEMS = 200


def every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """The items of all pages; `read` gives the page of a cursor."""
    cursor: str | None = None
    while True:
        found = read(cursor)
        yield from found.items
        cursor = found.next_cursor
        if cursor is None:
            return
