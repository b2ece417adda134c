"""Lists by cursor: complete and without repeats, whatever is added or removed in between."""

import base64
import json

import pytest

from deployments.models import Release, Target
from tests.api.conftest import assert_problem, make_release, make_target

pytestmark = pytest.mark.django_db


def walk(api, path, between=lambda: None):
    items, cursor = [], None
    joint = "&" if "?" in path else "?"
    for _ in range(100):
        page = api.get(f"{path}{joint}cursor={cursor}" if cursor else path).json()
        assert set(page) == {"items", "next_cursor"}
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
        between()
    raise AssertionError("the list does not end")


def test_pages_are_complete_in_every_order(viewer, project):
    for number in range(1, 24):
        make_release(project, number)
    expected = [f"v{number}" for number in range(23, 0, -1)]
    assert [item["name"] for item in walk(viewer, "releases?limit=5")] == expected
    assert [item["name"] for item in walk(viewer, "releases?limit=5&sort=created_at")] == expected[::-1]
    assert [item["name"] for item in walk(viewer, "releases?limit=23")] == expected
    assert len(viewer.get("releases").json()["items"]) == 23


def test_a_list_is_stable_while_rows_come_and_go(viewer, project):
    for name in ("c", "e", "g", "i", "k", "m"):
        make_target(project, name)
    added = iter("abdfhjlno")

    def between():
        make_target(project, next(added))
        Target.objects.filter(name="c").delete()

    for sort, order in (("name", 1), ("-name", -1)):
        names = [item["name"] for item in walk(viewer, f"targets?limit=2&sort={sort}", between)]
        assert len(names) == len(set(names))
        assert names == sorted(names)[::order]
        assert {"e", "g", "i", "k", "m"} <= set(names)


def test_filters_and_bad_queries(viewer, project):
    make_target(project, "alpha", status="ready", region="here")
    make_target(project, "beta", status="failed", region="there", health="unhealthy")

    def names(query):
        return [item["name"] for item in viewer.get(f"targets?{query}").json()["items"]]

    assert names("status=ready") == ["alpha"]
    assert names("status=ready,failed&sort=-name") == ["beta", "alpha"]
    assert names("region=there") == names("health=unhealthy") == ["beta"]
    assert names("provider=aws") == []
    for query, field in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("sort=secrets", "sort"),
        ("status=odd", "status"),
        ("role=boss", "role"),
        ("secrets=1", "secrets"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
    ]:
        assert_problem(viewer.get(f"targets?{query}"), 422, field=field)


def forged(*values) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        forged("name", "a"),
        forged("-name", "a", "b"),
        forged("name", "a", "b"),
        forged("name", "a", "tgt_" + "z" * 26),
        forged("name", ["a"], "tgt_" + "0" * 26),
        forged("name", None, "tgt_" + "0" * 26),
        forged("name", "a\0", "tgt_" + "0" * 26),
        forged("name", "a", "rel_" + "0" * 26),
        forged("name", "a", True),
        forged("name", "a", 1e99),
        forged({"a": 1}),
        "e30",
        "bnVsbA",
        "é",
    ],
)
def test_cursors_that_were_not_given_out(viewer, cursor):
    assert_problem(viewer.get(f"targets?cursor={cursor}"), 422, field="cursor")


def test_a_cursor_belongs_to_its_order(viewer, project):
    for number in range(1, 4):
        make_release(project, number)
    cursor = viewer.get("releases?limit=1").json()["next_cursor"]
    assert_problem(viewer.get(f"releases?limit=1&sort=created_at&cursor={cursor}"), 422, field="cursor")
    Release.objects.all().delete()
    assert viewer.get(f"releases?limit=1&cursor={cursor}").json() == {"items": [], "next_cursor": None}
