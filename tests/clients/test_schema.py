"""The Python client against docs/openapi.yaml: every call, every field of bodies and of answers."""

import dataclasses
import datetime
import inspect
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest
import yaml

from aindusdb_client import Client, Collection, bodies, endpoints, models

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/api/v1/vectors"
DOCUMENT = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
# What stands for an object inside a body.
PARTS = {
    "VectorsPointRequest": models.Point,
    "VectorsPointChangeRequest": bodies.PointChange,
    "VectorsOneQueryRequest": bodies.Query,
    "VectorsIndexOptionsRequest": bodies.IndexOptions,
    "VectorsImportColumnsRequest": bodies.ImportColumns,
    "VectorsFieldRequest": bodies.FieldOptions,
    "VectorsFusionRequest": bodies.Fusion,
    "VectorsTextOptionsRequest": bodies.TextOptions,
}
# What one dataclass has for several answers, of which only some have it.
NOT_IN_ALL = {(models.QueryResult, "next_cursor"), (models.QueryResult, "took_ms")}
# A vector's other forms on the wire, which the client chooses by itself.
FORMS = {"vector_b64", "vectors_b64"}


def followed(schema: dict) -> dict:
    """A schema, or the one that its reference names."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def schema_calls() -> dict[tuple[str, str], dict]:
    """The vector API's operations by method and path below its root."""
    return {
        (method.upper(), path.removeprefix(PREFIX).strip("/")): operation
        for path, item in DOCUMENT["paths"].items()
        if path == PREFIX or path.startswith(f"{PREFIX}/")
        for method, operation in item.items()
    }


def client_calls() -> dict[endpoints.Endpoint, list[tuple[typing.Callable, dict]]]:
    """The methods of the client by the call they make."""
    found: dict = {}
    for kind in (Client, Collection):
        for _, method in inspect.getmembers(kind, inspect.isfunction):
            for endpoint, fields in getattr(method, "endpoints", ()):
                found.setdefault(endpoint, []).append((method, fields))
    return found


OPERATIONS = schema_calls()
METHODS = client_calls()
TABLE = {
    (value.method, value.path): value
    for value in vars(endpoints).values()
    if isinstance(value, endpoints.Endpoint)
}
CALLS = sorted(set(OPERATIONS) & set(TABLE))


def test_every_call_has_a_method_and_every_method_a_call():
    assert sorted(TABLE) == sorted(OPERATIONS)
    assert set(METHODS) == set(TABLE.values())


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_field_of_a_body_is_a_parameter(call):
    operation, taken = OPERATIONS[call], set()
    for method, fields in METHODS[TABLE[call]]:
        for parameter in inspect.signature(method).parameters:
            taken.update(fields.get(parameter, (parameter,)))
    content = operation.get("requestBody", {}).get("content", {})
    wanted = set(followed(content.get("application/json", {}).get("schema", {})).get("properties", ()))
    wanted |= {item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"}
    missing = wanted - taken
    assert not missing, f"{call}: no parameter of {[m.__qualname__ for m, _ in METHODS[TABLE[call]]]}"


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_field_of_a_body_s_part_can_be_given(name):
    wanted = set(followed({"$ref": f"#/components/schemas/{name}"})["properties"]) - FORMS
    given = set(typing.get_type_hints(PARTS[name]))
    if PARTS[name] is models.Point:
        # Those of answers alone.
        given -= {"score", "scores"}
        wanted |= {"namespace"}
    assert given == wanted


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_answers_are_the_dataclasses(call):
    responses = OPERATIONS[call]["responses"]
    [status] = [status for status in responses if status.startswith("2")]
    content = responses[status].get("content", {})
    kinds = TABLE[call].answers
    if "application/json" not in content:
        assert kinds == ()
        return
    schema = followed(content["application/json"]["schema"])
    choices = schema.get("oneOf", [schema])
    assert len(choices) == len(kinds)
    for choice, kind in zip(choices, kinds, strict=True):
        check(followed(choice), kind, f"{' '.join(call)}")


def test_results_of_lines_are_the_dataclasses():
    schema = followed({"$ref": "#/components/schemas/VectorsPointResult"})
    line = {name: part for name, part in schema["properties"].items() if name not in ("progress", "summary")}
    check({"type": "object", "properties": line, "required": ["line"]}, models.PointResult, "line")
    summary = followed(schema["properties"]["summary"])["properties"]
    assert set(summary) | {"errors"} == {field.name for field in dataclasses.fields(models.StreamResult)}


def test_lines_of_an_export_are_the_dataclasses():
    fields = dict(followed({"$ref": "#/components/schemas/VectorsExportLine"})["properties"])
    summary = fields.pop("export")["properties"]
    assert set(summary) - {"after", "error"} == {field.name for field in dataclasses.fields(models.Exported)}
    assert set(fields) - FORMS == set(typing.get_type_hints(models.Point)) - {"score", "scores"}


def check(schema: dict, hint: object, at: str) -> None:
    """The schema's type is the hint's, to the last field; AssertionError tells where not."""
    schema = followed(schema)
    nulls, schema = without_null(schema)
    optional = isinstance(hint, types.UnionType) and types.NoneType in typing.get_args(hint)
    if optional:
        [hint] = [argument for argument in typing.get_args(hint) if argument is not types.NoneType]
    if hint is typing.Any:
        return
    assert not nulls or optional, f"{at} may be null"
    plain = typing.get_origin(hint) or hint
    if dataclasses.is_dataclass(plain):
        check_fields(schema, hint, plain, at)
        return
    kind = schema.get("type") or ("string" if all(isinstance(one, str) for one in schema["enum"]) else None)
    allowed = {
        "string": (str, datetime.datetime),
        "integer": (int,),
        "number": (float,),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
    }[kind]
    assert plain in allowed, f"{at} is {kind} in the schema and {plain} in the client"
    if plain is list:
        check(schema["items"], typing.get_args(hint)[0], f"{at}[]")


def check_fields(schema: dict, hint: object, plain: type, at: str) -> None:
    assert schema["type"] == "object", at
    hints = typing.get_type_hints(plain)
    given = dict(zip(getattr(plain, "__parameters__", ()), typing.get_args(hint), strict=False))
    fields = {field.name: field for field in dataclasses.fields(plain)}
    extra = {(plain, name) for name in set(fields) - set(schema["properties"])}
    assert extra <= NOT_IN_ALL, f"{at}: {plain.__name__}"
    assert set(schema["properties"]) <= set(fields), f"{at}: {plain.__name__}"
    for name, part in schema["properties"].items():
        always = fields[name].default is dataclasses.MISSING
        assert not always or name in schema.get("required", ()), f"{at}.{name} may be left out"
        inner = hints[name]
        if typing.get_origin(inner) is list and typing.get_args(inner)[0] in given:
            inner = list[given[typing.get_args(inner)[0]]]
        check(part, inner, f"{at}.{name}")


def without_null(schema: dict) -> tuple[bool, dict]:
    """Whether null is allowed, and the schema of what else is."""
    if isinstance(schema.get("type"), list):
        [kind] = [one for one in schema["type"] if one != "null"]
        return True, {**schema, "type": kind}
    choices = schema.get("oneOf") or schema.get("anyOf") or []
    if {"type": "null"} in choices:
        [inner] = [one for one in choices if one != {"type": "null"}]
        return True, followed(inner)
    return False, schema


def test_the_client_is_typed_to_the_end(request):
    folder = ROOT / "clients" / "python"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--cache-dir", str(request.config.cache.mkdir("mypy"))),
            *("--config-file", str(folder / "pyproject.toml"), str(folder / "src")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
