"""What the vector API should answer, computed plainly in Python and NumPy."""

from decimal import Decimal

import numpy as np


def leaves(value, parts):
    """The values a dotted path reaches; lists of objects are gone through."""
    if not parts:
        return [value]
    if isinstance(value, list):
        found = []
        for item in value:
            if isinstance(item, dict):
                found += leaves(item, parts)
        return found
    if isinstance(value, dict) and parts[0] in value:
        return leaves(value[parts[0]], parts[1:])
    return []


def scalars(value, depth=2):
    """A leaf's values: of a list its elements, lists in lists two deep."""
    if isinstance(value, list) and depth:
        return [scalar for item in value for scalar in scalars(item, depth - 1)]
    return [value]


def kind(value):
    if value is None or isinstance(value, bool):
        return type(value)
    if isinstance(value, int | float):
        return float
    return type(value)


def exact(value):
    """A number as JSON writes it, which is what is kept and compared; others as they are."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    return value


def exactly(value):
    """A value with its numbers as JSON's decimals, so that 1 and 1.0 are one and 2**53 + 1 is itself."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return (isinstance(value, bool), exact(value))


def same(a, b):
    return kind(a) is kind(b) and not isinstance(a, list | dict) and exact(a) == exact(b)


def ordered(a, b, operator):
    if kind(a) is not kind(b) or kind(a) not in (float, str):
        return False
    a, b = exact(a), exact(b)
    return {"$gt": a > b, "$gte": a >= b, "$lt": a < b, "$lte": a <= b}[operator]


def condition(values, present, name, wanted):
    if name == "$eq":
        return any(same(value, wanted) for value in values)
    if name == "$ne":
        return not any(same(value, wanted) for value in values)
    if name == "$in":
        return any(same(value, item) for value in values for item in wanted)
    if name == "$nin":
        return not any(same(value, item) for value in values for item in wanted)
    if name == "$exists":
        return present == wanted
    if name == "$not":
        return not all(condition(values, present, *item) for item in wanted.items())
    return any(ordered(value, wanted, name) for value in values)


def matches(filter, metadata) -> bool:
    """Whether metadata satisfies a filter."""
    for key, wanted in filter.items():
        if key == "$and":
            good = all(matches(part, metadata) for part in wanted)
        elif key == "$or":
            good = any(matches(part, metadata) for part in wanted)
        elif key == "$not":
            good = not matches(wanted, metadata)
        else:
            reached = leaves(metadata, key.split("."))
            values = [scalar for leaf in reached for scalar in scalars(leaf)]
            operators = wanted if isinstance(wanted, dict) else {"$eq": wanted}
            good = all(condition(values, bool(reached), *item) for item in operators.items())
        if not good:
            return False
    return True


class Model:
    """A collection in memory: {(namespace, id): (vector, content, metadata)}."""

    def __init__(self, dimension: int, metric: str):
        self.dimension = dimension
        self.metric = metric
        self.less_is_nearer = metric in ("l2", "l1")
        self.points = {}

    def upsert(self, namespace, points):
        for point in points:
            self.points[namespace, point["id"]] = (
                np.array(point["vector"], dtype=np.float32),
                point.get("content"),
                point.get("metadata") or {},
            )

    def select(self, namespace=None, filter=None):
        return sorted(
            (
                key
                for key, point in self.points.items()
                if (namespace is None or key[0] == namespace)
                and (filter is None or matches(filter, point[2]))
            ),
            key=lambda key: (key[0].encode(), key[1].encode()),
        )

    def update(self, keys, change, mode):
        """Make a change of the API's form to points; the keys of those that are there."""
        done = [key for key in keys if key in self.points]
        for key in done:
            vector, content, metadata = self.points[key]
            if "vector" in change:
                vector = np.array(change["vector"], dtype=np.float32)
            if "content" in change:
                content = change["content"]
            if "metadata" in change:
                metadata = change["metadata"] if mode == "replace" else metadata | change["metadata"]
            if "metadata_remove" in change:
                metadata = {
                    name: value for name, value in metadata.items() if name not in change["metadata_remove"]
                }
            self.points[key] = (vector, content, metadata)
        return done

    def groups(self, vector, keys, field, size):
        """[(value, scores)] by the nearest of each, for the scalars that a top-level field holds."""
        found = {}
        sign = 1 if self.less_is_nearer else -1
        scores = self.scores(vector, keys)
        for key in sorted(keys, key=lambda key: sign * scores[key[1]]):
            value = self.points[key][2].get(field)
            if isinstance(value, str | int | float):
                found.setdefault((kind(value), value), []).append(scores[key[1]])
        return [(value, group[:size]) for (_, value), group in found.items()]

    def delete(self, keys):
        gone = [key for key in keys if key in self.points]
        for key in gone:
            del self.points[key]
        return len(gone)

    def scores(self, vector, keys):
        """{id: score} of keys, in double precision."""
        wanted = np.array(vector, dtype=np.float32).astype(float)
        found = {}
        for key in keys:
            stored = self.points[key][0].astype(float)
            if self.metric == "cosine":
                found[key[1]] = stored @ wanted / (np.linalg.norm(stored) * np.linalg.norm(wanted))
            elif self.metric == "ip":
                found[key[1]] = stored @ wanted
            elif self.metric == "l1":
                found[key[1]] = np.abs(stored - wanted).sum()
            else:
                found[key[1]] = np.linalg.norm(stored - wanted)
        return found
