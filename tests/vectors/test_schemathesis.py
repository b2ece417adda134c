"""Requests made from docs/openapi.yaml against a running replica: no 5xx, and every answer as it says."""

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.vectors.conftest import ROOT, token
from tests.vectors.test_process import Server

PREFIX = "/api/v1/vectors"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def document() -> dict:
    """The vector API's part of the schema, its answers closed: a field that is not described is a defect."""
    found = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
    found["paths"] = {
        path: item for path, item in found["paths"].items() if path == PREFIX or path.startswith(f"{PREFIX}/")
    }
    components = found["components"]["schemas"]
    for name, schema in components.items():
        if name.startswith("Vectors"):
            close(schema)
    for item in found["paths"].values():
        for operation in item.values():
            for response in operation["responses"].values():
                close(response)
    return found


def close(node) -> None:
    """No object below takes fields that it does not name, unless it says so."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            close(value)
    elif isinstance(node, list):
        for value in node:
            close(value)


SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS = {operation.ok().label: operation.ok() for operation in SCHEMA.get_all_operations()}


class Replica(Server):
    """A replica with something of each kind in it, and their names by the parameter that takes them."""

    def filled(self) -> "Replica":
        self.ready()
        self.ask("POST", "collections", {"name": "flat", "dimension": 2, "metric": "l2", "auto_index": False})
        text = {"name": "text", "dimension": 2, "text": {"language": "english"}}
        self.ask("POST", "collections", text | {"fields": [{"name": "n", "type": "number"}]})
        for name in ("flat", "text"):
            points = [
                {
                    "id": str(at),
                    "vector": [at + 1, 1],
                    "content": f"word {at}",
                    "metadata": {"n": at, "k": "a"},
                }
                for at in range(20)
            ]
            self.ask("POST", f"collections/{name}/points", {"points": points})
            self.ask("POST", f"collections/{name}/points", {"points": points[:3], "namespace": "x"})
        self.ask("PUT", "aliases/live", {"collection": "flat"})
        job = self.ask("POST", "collections/flat/index", {})["id"]
        self.real = {
            "collection": ["flat", "text", "live"],
            "alias": ["live"],
            "job": [job],
            "key": [self.ask("POST", "api-keys", {"name": "k"})["id"]],
            "upload": [self.ask("POST", "collections/flat/uploads", {})["id"]],
            "id": [self.ask("POST", "", {"embedding": [1, 2, 3]})["id"]],
        }
        return self

    def ask(self, method, path, body):
        status, answer, _ = self.call(method, path.rstrip("/"), body)
        assert status < 300, answer
        return answer


@pytest.fixture(scope="module")
def server(vectors_url, tmp_path_factory):
    """A replica whose jobs stay queued: what they would do has tests of its own."""
    made = Replica(vectors_url, tmp_path_factory.mktemp("api"), "--no-runner")
    try:
        yield made.filled()
    finally:
        made.stop()


# By how the requests are made: as the schema allows, and against it.
EXAMPLES = {GenerationMode.POSITIVE: 25, GenerationMode.NEGATIVE: 8}
SMALL = st.floats(-100, 100, width=32)
VECTORS = st.lists(SMALL, min_size=2, max_size=2)


def likely(draw, server, case) -> None:
    """Three times of four, names that there are and vectors that fit, so that more is tried than refusals."""
    for name in case.path_parameters:
        # What is deleted is not there any more for the others.
        if name in server.real and case.method != "DELETE" and draw(st.integers(0, 3)):
            case.path_parameters[name] = draw(st.sampled_from(server.real[name]))
    if isinstance(case.body, dict) and draw(st.integers(0, 3)):
        fit(draw, case.body)


def fit(draw, body: dict) -> None:
    """Vectors, ids and filters in a body as the collections have them."""
    for name, value in list(body.items()):
        if name in ("vector", "query_vector", "embedding"):
            body[name] = draw(VECTORS)
        elif name in ("vector_b64", "vectors_b64", "cursor"):
            del body[name]
        elif name in ("ids", "positive", "negative", "id"):
            point_ids = st.sampled_from([str(at) for at in range(20)])
            body[name] = draw(point_ids if name == "id" else st.lists(point_ids, min_size=1, max_size=3))
        elif name == "filter":
            body[name] = draw(st.sampled_from([{"n": {"$gt": 3}}, {"k": "a"}, {"$not": {"n": 1}}]))
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    fit(draw, item)


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda one: one.value
)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_described(server, label, mode):
    operation = OPERATIONS[label]
    positive = mode is GenerationMode.POSITIVE

    @settings(max_examples=EXAMPLES[mode], suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def run(case, data):
        if positive:
            likely(data.draw, server, case)
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{server.port}",
            headers={"Authorization": f"Bearer {token()}"},
            checks=CHECKS if positive else [*CHECKS, negative_data_rejection],
        )

    run()
