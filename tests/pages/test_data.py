"""The pages of collections, with a vector API that runs."""

import base64
import http.client
import http.server
import json
import re
import struct
import threading
import time
from contextlib import closing
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from controlplane.errors import NotFoundError
from deployments import target_api
from tests.pages.data_plane import *  # noqa: F403
from worker import engine
from worker.models import Operation, Status

BASE = "/targets/plane/"
DOCS = f"{BASE}data/docs/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def viewer(signed_in):
    return signed_in("viewer")


@pytest.fixture
def operator(signed_in):
    return signed_in("operator")


def text_of(answer, status: int = 200) -> str:
    assert answer.status_code == status, answer.content[-800:]
    return answer.content.decode()


PAGES = [
    "",
    "search/",
    "search/?by=id&id=p01&include=content",
    "points/",
    "point/?id=p01",
    "namespaces/",
    "picture/",
    "recall/",
    "transfer/",
    "settings/",
]
WORK = [
    "build/",
    "drop/",
    "settings/drop-index/",
    "settings/alias/",
    "namespaces/delete/?namespace=b",
    "point/delete/?id=p01",
]
POSTS = [
    "build/",
    "drop/",
    "recall/measure/",
    "transfer/start/",
    "settings/alias/",
    "settings/alias/delete/",
    "settings/auto-index/",
    "settings/drop-index/",
    "settings/fields/",
    "settings/text/",
    "namespaces/delete/",
    "point/",
    "point/delete/",
]


@pytest.mark.parametrize("path", PAGES)
def test_everybody_may_look(path, docs, viewer):
    text = text_of(viewer.get(DOCS + path))
    assert "<html" in text
    assert "does not answer" not in text


@pytest.mark.parametrize("path", WORK)
def test_viewers_may_not_change(path, docs, viewer, operator):
    assert viewer.get(DOCS + path).status_code == 403
    assert operator.get(DOCS + path).status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_viewers_may_not_send(path, docs, viewer):
    assert viewer.post(DOCS + path).status_code == 403


def test_unknown_collection_and_point(docs, viewer):
    assert viewer.get(f"{BASE}data/nope/").status_code == 404
    assert viewer.get(f"{DOCS}point/?id=nope").status_code == 404


def test_list_filters_sorts_and_pages(api, docs, viewer):
    for number in range(27):
        api.collection_create({"name": f"more-{number:02}", "dimension": 3, "metric": "l2"})
    text = text_of(viewer.get(f"{BASE}data/"))
    assert "28 collections" in text
    assert "more-25" not in text
    second = text_of(viewer.get(f"{BASE}data/?cursor=25"))
    assert "more-26" in second
    by_points = text_of(viewer.get(f"{BASE}data/?sort=-points"))
    assert by_points.index(">docs<") < by_points.index(">more-00<")
    assert "1 collection" in text_of(viewer.get(f"{BASE}data/?q=COSINE", headers=HTMX))
    assert "No collection fits" in text_of(viewer.get(f"{BASE}data/?q=zzz"))


def test_no_collections_offer_the_first_step(data_target, viewer, operator):
    assert "new-collection" not in text_of(viewer.get(f"{BASE}data/"))
    assert "Make the first collection" in text_of(operator.get(f"{BASE}data/"))


def test_create_tells_what_is_wrong_at_its_field(api, docs, operator):
    form = {
        "name": "made",
        "dimension": "3000",
        "metric": "ip",
        "index": "hnsw",
        "precision": "vector",
        "m": "16",
        "ef_construction": "64",
        "auto": "on",
    }
    refused = text_of(operator.post(f"{BASE}new-collection/", form, headers=HTMX), 422)
    assert "use precision halfvec" in refused
    assert 'id="precision-error"' in refused
    made = operator.post(f"{BASE}new-collection/", form | {"precision": "halfvec"}, headers=HTMX)
    assert made["HX-Redirect"] == f"{BASE}data/made/"
    described = api.collection("made")
    assert (described["dimension"], described["metric"]) == (3000, "ip")
    assert described["index"]["options"]["precision"] == "halfvec"
    again = text_of(
        operator.post(f"{BASE}new-collection/", form | {"precision": "halfvec"}, headers=HTMX), 422
    )
    assert "exists already" in again


def test_overview(docs, viewer):
    text = text_of(viewer.get(DOCS))
    for shown in ("40", "No index: every search compares all points", "default", "No other name"):
        assert shown in text
    assert "<html" not in text_of(viewer.get(DOCS, headers=HTMX))


def run(operation):
    """Advance an operation here to its end."""
    engine.drain(operation.subject, seconds=60)
    operation.refresh_from_db()
    return operation


@pytest.mark.django_db(transaction=True)
def test_index_is_built_in_two_steps(api, docs, operator):
    form = {"index": "hnsw", "m": "1", "ef_construction": "32", "precision": "vector"}
    assert "m is between" in text_of(operator.post(f"{DOCS}build/", form, headers=HTMX), 422)
    needs = text_of(operator.post(f"{DOCS}build/", form | {"m": "8"}, headers=HTMX))
    assert "Memory needed" in needs
    assert "fits in the memory" in needs
    assert not Operation.objects.filter(kind="collection.job").exists()
    sent = operator.post(f"{DOCS}build/", form | {"m": "8", "step": "build"}, headers=HTMX)
    operation = Operation.objects.get(kind="collection.job")
    assert sent["HX-Redirect"] == f"/operations/{operation.pk}/"
    assert run(operation).status == Status.SUCCEEDED, operation.error
    assert api.index("docs")["built"]["m"] == 8
    text = text_of(operator.get(DOCS))
    assert "Index build of docs" in text
    assert "Index build of docs on plane" in text_of(operator.get(f"/operations/{operation.pk}/"))
    assert "Index build" in text_of(operator.get(f"{BASE}jobs/"))
    operator.post(f"{DOCS}settings/drop-index/")
    assert api.index("docs")["state"] == "none"


def test_settings_change_the_collection(api, docs, operator):
    operator.post(f"{DOCS}settings/auto-index/", {"auto": "on"})
    assert api.index("docs")["auto"] is True
    shown = text_of(operator.get(f"{DOCS}settings/"))
    assert "Build only when asked" in shown


def test_fields_and_full_text_are_declared(api, docs, operator, viewer):
    rows = {"field_name": ["year", "section", ""], "field_type": ["number", "keyword", "boolean"]}
    operator.post(f"{DOCS}settings/fields/", rows)
    described = api.collection("docs")
    assert {one["name"]: one["type"] for one in described["fields"]} == {
        "year": "number",
        "section": "keyword",
    }
    text = text_of(viewer.get(f"{DOCS}settings/"))
    assert "year: number" in text
    wrong = operator.post(
        f"{DOCS}settings/fields/", {"field_name": "a..b", "field_type": "number"}, follow=True
    )
    assert 'class="icon failing"' in text_of(wrong)
    assert "Full text is off" in text_of(operator.get(f"{DOCS}search/?by=text&text=x"))
    operator.post(f"{DOCS}settings/text/", {"language": "english"})
    assert api.collection("docs")["text"]["language"] == "english"
    words = text_of(viewer.get(f"{DOCS}search/?by=text&text=number+7&include=content"))
    assert "Words alone" in words
    assert "p07" in words
    both = text_of(viewer.get(f"{DOCS}search/?by=id&id=p20&text=number+7&fusion=rrf&rrf_k=5&include=content"))
    assert "Vector and words, merged" in both
    assert "p07" in both
    operator.post(f"{DOCS}settings/text/", {"language": ""})
    assert api.collection("docs")["text"] is None


def test_aliases_are_made_switched_and_taken_away(api, docs, operator):
    api.collection_create({"name": "new", "dimension": 2})
    made = operator.post(f"{DOCS}settings/alias/", {"alias": "live"}, headers=HTMX)
    assert made["HX-Redirect"] == f"{DOCS}settings/"
    assert "live" in text_of(operator.get(f"{DOCS}settings/"))
    assert "Alias of" in text_of(operator.get(f"{BASE}data/live/"))
    asked = text_of(operator.post(f"{BASE}data/new/settings/alias/", {"alias": "live"}, headers=HTMX), 422)
    assert "live stands for docs now" in asked
    operator.post(f"{BASE}data/new/settings/alias/", {"alias": "live", "switch": "live"}, headers=HTMX)
    assert api.collection("live")["name"] == "new"
    wrong = text_of(operator.post(f"{DOCS}settings/alias/", {"alias": "no/name"}, headers=HTMX), 422)
    assert 'id="alias-error"' in wrong
    operator.post(f"{BASE}data/new/settings/alias/delete/", {"alias": "live"})
    with pytest.raises(NotFoundError):
        api.collection("live")


def test_namespaces(api, docs, operator):
    text = text_of(operator.get(f"{DOCS}namespaces/"))
    assert "(unnamed)" in text
    assert ">b<" in text
    assert "No namespace begins with" in text_of(operator.get(f"{DOCS}namespaces/?q=zz"))
    assert "10 points" in text_of(operator.get(f"{DOCS}namespaces/delete/?namespace=b", headers=HTMX))
    wrong = operator.post(f"{DOCS}namespaces/delete/", {"namespace": "b", "confirm": "c"}, headers=HTMX)
    assert "Type b to delete it" in text_of(wrong, 422)
    operator.post(f"{DOCS}namespaces/delete/", {"namespace": "b", "confirm": "b"})
    operator.post(f"{DOCS}namespaces/delete/", {"namespace": "", "confirm": "default"})
    assert api.call("GET", "collections/docs/namespaces")["items"] == []


def test_points_by_pages_and_filter(docs, viewer):
    text = text_of(viewer.get(f"{DOCS}points/"))
    assert "p00" in text
    assert "p39" not in text
    assert "40 points" in text
    narrowed = urlencode({"filter": '{"year": {"$gte": 2036}}', "namespace": "b"})
    found = text_of(viewer.get(f"{DOCS}points/?{narrowed}"))
    assert "4 points match" in found
    assert "p39" in found
    assert "p35" not in found
    fields = json.loads(text.partition('id="filter-fields"')[2].partition(">")[2].partition("</script>")[0])
    assert {one["name"]: one["type"] for one in fields} == {"section": "text", "year": "number"}
    only = text_of(viewer.get(f"{DOCS}points/?namespace=-"))
    assert "30 points match" in only
    assert "This is not JSON" in text_of(viewer.get(f"{DOCS}points/?filter=%7B"))
    refused = text_of(viewer.get(f"{DOCS}points/?filter=%7B%22a%22%3A%7B%22%24near%22%3A1%7D%7D"))
    assert 'id="filter-error"' in refused


def test_point_is_looked_at_changed_and_deleted(api, docs, operator):
    text = text_of(operator.get(f"{DOCS}point/?id=p31&namespace=b"))
    assert "text number 31" in text
    assert "<rect" in text
    form = {"id": "p31", "namespace": "b", "metadata": '{"section": "new"}', "content": "other"}
    assert operator.post(f"{DOCS}point/", form).status_code == 302
    found = api.call("POST", "collections/docs/fetch", {"ids": ["p31"], "namespace": "b"})["points"][0]
    assert found["metadata"] == {"section": "new"}
    assert found["content"] == "other"
    for wrong in ("{", "[1]"):
        refused = text_of(operator.post(f"{DOCS}point/", form | {"metadata": wrong}), 422)
        assert 'id="metadata-error"' in refused
        assert "other" in refused
    assert operator.post(f"{DOCS}point/delete/", form | {"confirm": "p3"}).status_code == 422
    assert operator.post(f"{DOCS}point/delete/", form | {"confirm": "p31"}).status_code == 302
    assert operator.get(f"{DOCS}point/?id=p31&namespace=b").status_code == 404


def test_search_shows_results_timings_and_the_call(docs, viewer):
    query = urlencode(
        {"by": "vector", "vector": "[1, 3]", "top_k": 3, "filter": '{"section": "net"}', "recall": "exact"}
    )
    text = text_of(viewer.get(f"{DOCS}search/?{query}&include=content&include=metadata&include=vector"))
    assert text.index("p03") < text.index("p05")
    for shown in (
        "Round trip",
        "On the target",
        "Exact: every matching point",
        "text number 3",
        "year: 2003",
    ):
        assert shown in text
    assert "there may be" in text
    assert "Next page" in text
    assert "targets/plane/vectors/collections/docs/query" in text
    following = text.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
    second = text_of(viewer.get(f"{DOCS}search/{following.replace('&amp;', '&')}"))
    assert "p03</code>" not in second


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=vector&vector=1,2,3", "vector"),
        ("by=id&id=nope", "id"),
        ("by=id&id=p01&filter=%7B%22%24no%22%3A1%7D", "filter"),
        ("by=id&id=p01&top_k=0", "top"),
    ],
)
def test_search_tells_what_the_target_refused(query, field, docs, viewer):
    assert f'id="{field}-error"' in text_of(viewer.get(f"{DOCS}search/?{query}"))


@pytest.mark.django_db(transaction=True)
def test_recall_is_measured_and_shown(api, docs, operator):
    assert "Not measured yet" in text_of(operator.get(f"{DOCS}recall/"))
    assert "—" in text_of(operator.get(f"{DOCS}latest-recall/"))
    api.index_build("docs", {})
    deadline = time.monotonic() + 30
    while api.index("docs")["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = operator.post(f"{DOCS}recall/measure/", {"queries": "20", "k": "5"})
    operation = Operation.objects.get(kind="collection.job")
    assert answer["Location"] == f"/operations/{operation.pk}/"
    assert operator.post(f"{DOCS}recall/measure/", {})["Location"] == answer["Location"]
    assert run(operation).status == Status.SUCCEEDED, operation.error
    text = text_of(operator.get(f"{DOCS}recall/"))
    assert 'id="recall-data"' in text
    assert "100 %" in text
    assert "100 %" in text_of(operator.get(f"{DOCS}latest-recall/"))


@pytest.mark.django_db(transaction=True)
def test_import_that_the_target_refuses_is_told(docs, operator):
    form = {
        "place": "path",
        "address": "/etc/passwd",
        "format": "ndjson",
        "namespace": "",
        "on_error": "skip",
    }
    answer = operator.post(f"{DOCS}transfer/start/", form)
    operation = Operation.objects.get(kind="collection.job")
    assert answer["Location"] == f"{DOCS}transfer/?operation={operation.pk}#work"
    assert operation.input["body"] == {"path": "/etc/passwd", "format": "ndjson", "on_error": "skip"}
    assert run(operation).status == Status.FAILED
    shown = operator.get(f"{DOCS}transfer/{operation.pk}/")
    assert shown.status_code == 286
    assert operation.error in shown.content.decode()
    assert "Import into docs" in text_of(operator.get(f"{DOCS}transfer/"))
    told = operator.post(f"{DOCS}transfer/start/", form, headers={"Accept": "application/json"}).json()
    assert told["address"].endswith("#work")


@pytest.mark.django_db(transaction=True)
def test_import_of_an_upload_tells_rows_bytes_and_wrong_lines(api, docs, operator):
    lines = [{"id": f"n{number}", "vector": [1, number]} for number in range(20)]
    lines[4]["vector"] = [1]
    data = "\n".join(map(json.dumps, lines)).encode()
    upload = api.call("POST", "collections/docs/uploads", {"size_bytes": len(data)})
    sent = api.call("PUT", f"uploads/{upload['id']}", data, offset=0)
    assert sent["received_bytes"] == len(data)
    form = {"upload": upload["id"], "format": "ndjson", "namespace": "new", "on_error": "skip"}
    operator.post(f"{DOCS}transfer/start/", form)
    operation = run(Operation.objects.get(kind="collection.job"))
    assert operation.status == Status.SUCCEEDED, operation.error
    text = operator.get(f"{DOCS}transfer/{operation.pk}/").content.decode()
    for shown in ("19", "Lines that failed", "n4", "vector"):
        assert shown in text
    assert "19 rows" in text_of(operator.get(f"{BASE}jobs/"))


def test_drop_needs_the_name(api, docs, operator):
    assert "40 points" in text_of(operator.get(f"{DOCS}drop/", headers=HTMX))
    assert operator.post(f"{DOCS}drop/", {"confirm": "doc"}).status_code == 422
    assert operator.post(f"{DOCS}drop/", {"confirm": "docs"})["Location"] == f"{BASE}data/"
    with pytest.raises(NotFoundError):
        api.collection("docs")


def test_a_target_away_is_told_on_every_page(docs, data_target, viewer, operator):
    data_target.replicas.update(status="stopped", stopped_at=timezone.now())
    for path in PAGES:
        assert "does not answer" in text_of(viewer.get(DOCS + path)), path
    for path in WORK:
        assert "does not answer" in text_of(operator.get(DOCS + path)), path
    for path in (f"{BASE}data/", f"{BASE}jobs/"):
        assert "does not answer" in text_of(viewer.get(path)), path
    data_target.replicas.filter(pk=data_target.replicas.order_by("pk").first().pk).update(
        status="ready", stopped_at=None
    )


@pytest.fixture
def older(data_target, replica_port):
    """The same target with a release in front of which nothing of a list of calls is there yet."""
    missing = re.compile(r"/(recall|aliases|uploads|projection)\b")

    class Older(http.server.BaseHTTPRequestHandler):
        def _pass_on(self):
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            if missing.search(self.path):
                status = 404
                data = json.dumps({"code": "unknown_address", "detail": "There is no such address."}).encode()
            else:
                with closing(http.client.HTTPConnection("127.0.0.1", replica_port)) as behind:
                    behind.request(self.command, self.path, body, dict(self.headers))
                    answer = behind.getresponse()
                    status, data = answer.status, answer.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _pass_on

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Older)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    data_target.replicas.filter(status="ready").update(port=server.server_port)
    yield data_target
    server.shutdown()
    server.server_close()
    data_target.replicas.filter(status="ready").update(port=replica_port)


@pytest.mark.django_db(transaction=True)
def test_what_an_older_release_does_not_serve_is_told(docs, older, operator):
    assert "not served yet" in text_of(operator.get(DOCS))
    recall = text_of(operator.get(f"{DOCS}recall/"))
    assert "release does not serve this yet" in recall
    assert "Roll out a newer release" in recall
    assert "—" in text_of(operator.get(f"{DOCS}latest-recall/"))
    alias = text_of(operator.get(f"{DOCS}settings/alias/", headers=HTMX))
    assert "does not serve aliases yet" in alias
    assert "disabled" in alias
    measured = operator.post(f"{DOCS}recall/measure/", {})
    operation = Operation.objects.get(kind="collection.job")
    assert measured["Location"] == f"/operations/{operation.pk}/"
    assert run(operation).status == Status.FAILED
    assert "roll out a newer one" in operation.error


def test_an_answer_that_is_too_large_is_told(docs, viewer, monkeypatch):
    monkeypatch.setattr(target_api, "MOST_ANSWER_BYTES", 1800)
    text = text_of(viewer.get(f"{DOCS}points/"))
    assert "ask for fewer points" in text


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ({"index": "ivfflat", "lists": "4"}, {"type": "ivfflat", "lists": 4}),
        ({"index": "ivfflat", "lists": ""}, {"type": "ivfflat", "lists": None}),
        ({"index": "hnsw", "m": "8", "ef_construction": "32", "precision": "bit"}, {"precision": "bit"}),
        ({"index": "flat"}, {"type": "flat"}),
    ],
)
def test_every_type_of_index_can_be_made(form, options, api, docs, operator):
    sent = {"name": "typed", "dimension": "8", "metric": "cosine", **form}
    made = operator.post(f"{BASE}new-collection/", sent, headers=HTMX)
    assert made.status_code == 204, made.content.decode()
    described = api.collection("typed")["index"]
    assert described["options"] | options == described["options"]
    assert described["auto"] is False
    for path in ("", "settings/", "build/"):
        text_of(operator.get(f"{BASE}data/typed/{path}"))


def test_bit_vectors(api, docs, operator):
    sent = {"name": "bits", "dimension": "8", "metric": "hamming", "index": "hnsw", "m": "8"}
    made = operator.post(f"{BASE}new-collection/", sent | {"ef_construction": "32"}, headers=HTMX)
    assert made.status_code == 204, made.content.decode()
    points = [{"id": str(n), "vector": [int(bit) for bit in f"{n:08b}"]} for n in range(16)]
    api.call("POST", "collections/bits/points", {"points": points})
    text = text_of(operator.get(f"{BASE}data/bits/point/?id=3"))
    assert text.count("<rect") == 8
    found = text_of(operator.get(f"{BASE}data/bits/search/?by=vector&vector=0,0,0,0,0,0,1,1&top_k=3"))
    assert "less is nearer" in found
    assert found.index(">3</code>") < found.index(">1</code>")
    packed = base64.b64encode(struct.pack("<8f", 0, 0, 0, 0, 0, 0, 1, 1)).decode()
    query = urlencode({"by": "vector", "vector_b64": packed, "top_k": 1})
    assert ">3</code>" in text_of(operator.get(f"{BASE}data/bits/search/?{query}"))
