"""The schema is complete, has no warnings, and its checked-in copy is current."""

from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from vectors import endpoints, openapi

COPY = Path(__file__).resolve().parent.parent.parent / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    return path


def test_the_copy_in_docs_is_current(schema):
    assert schema.read_text() == COPY.read_text(), (
        "The API changed: run `manage.py spectacular --file docs/openapi.yaml` and look at the difference."
    )


def test_every_operation_is_described(schema):
    document = yaml.safe_load(schema.read_text())
    assert document["openapi"].startswith("3.1")
    seen = set()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["summary"] and operation["tags"], where
            assert operation["operationId"] not in seen, where
            seen.add(operation["operationId"])
            assert any(status.startswith("2") for status in operation["responses"]), where
            assert any(status.startswith("4") for status in operation["responses"]), where
            assert ("security" in operation) == (path != "/api/v1/tokens"), where
    events = document["paths"]["/api/v1/operations/{operation}/events"]["get"]
    assert set(events["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "/api/v1/targets/{target}/vectors/collections/{collection}/query" in document["paths"]


def test_every_reference_leads_somewhere(schema):
    document = yaml.safe_load(schema.read_text())

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in set(references(document)):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_every_call_of_the_vector_api_is_described():
    names = {route.name for methods in endpoints.ROUTES.values() for route in methods.values()}
    assert names == set(openapi.CALLS)


@pytest.mark.django_db
def test_schema_and_docs_are_served_from_here_alone(client):
    assert client.get("/api/schema/").status_code == 200
    page = client.get("/api/docs/")
    assert page.status_code == 200
    text = page.content.decode()
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in text
    assert "https://" not in text and 'src="//' not in text
    asset = client.get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")
    assert asset.status_code == 200
    asset.close()


def test_every_endpoint_is_in_the_docs(schema):
    text = (COPY.parent / "api.md").read_text().partition("# Control plane")[2]
    document = yaml.safe_load(schema.read_text())
    missing = []
    for path, item in document["paths"].items():
        address = path.removeprefix("/api/v1/")
        if address.startswith("vectors") or "/vectors" in address:
            continue
        for method in item:
            parent, _, last = address.rpartition("/")
            rows = [row for row in text.splitlines() if row.startswith("|") and method.upper() in row]
            if not any(f"{address}`" in row or (f"{parent}/" in row and f"`/{last}`" in row) for row in rows):
                missing.append(f"{method.upper()} {address}")
    assert not missing
