"""Lists by cursor: a page starts after a row, so that rows that come or go do not shift it."""

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

PER_PAGE = 50


@dataclass
class Page:
    """One page of a list: its rows and the cursors of its neighbours."""

    items: list
    next: str = ""
    previous: str = ""
    sort: str = ""
    total: int | None = None

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


def _encode(value, key, backwards: bool) -> str:
    if isinstance(value, datetime):
        value = {"t": value.isoformat()}
    text = json.dumps([value, str(key), backwards], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(text: str):
    try:
        value, key, backwards = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if isinstance(value, dict):
            value = datetime.fromisoformat(value["t"])
        return value, key, bool(backwards)
    except (ValueError, KeyError, TypeError):
        return None


def paginate(
    rows: QuerySet, parameters, *, sorts: dict[str, str], default: str, size: int = PER_PAGE, count=True
) -> Page:
    """A page of `rows` by `?sort=` (a name of `sorts`, `-` for descending) and `?cursor=`.

    `sorts` maps a public name to a field that is never null. A sort or cursor that is not valid is
    dropped: an old link still shows the list.
    """
    sort = parameters.get("sort", default)
    if sort.removeprefix("-") not in sorts:
        sort = default
    descending = sort.startswith("-")
    field = sorts[sort.removeprefix("-")]
    total = rows.count() if count else None
    cursor = _decode(parameters["cursor"]) if parameters.get("cursor") else None
    backwards = bool(cursor and cursor[2])
    down = descending != backwards
    if cursor:
        compare = "lt" if down else "gt"
        rows = rows.filter(
            Q(**{f"{field}__{compare}": cursor[0]}) | Q(**{field: cursor[0], f"pk__{compare}": cursor[1]})
        )
    sign = "-" if down else ""
    found = list(rows.order_by(f"{sign}{field}", f"{sign}pk")[: size + 1])
    more = len(found) > size
    found = found[:size]
    if backwards:
        found.reverse()
    page = Page(items=found, sort=sort, total=total)
    if found:
        if more or backwards:
            page.next = _encode(_value(found[-1], field), found[-1].pk, False)
        if (cursor and not backwards) or (backwards and more):
            page.previous = _encode(_value(found[0], field), found[0].pk, True)
    return page


def _value(row, field: str):
    for part in field.split("__"):
        row = getattr(row, part)
    return row
