"""The server's OpenAPI documents: v3 by group and version, and v2 whole, made of Kubernetes' definitions."""

from typing import Any

from tests.simulators.kubernetes import errors
from tests.simulators.kubernetes.resources import Resource, Resources
from tests.simulators.kubernetes.schema import META, Schemas

_WRITING = ("dryRun", "fieldManager", "fieldValidation")


def index(resources: Resources) -> dict:
    """/openapi/v3: where the document of each group and version is."""
    paths = {"api/v1": ("", "v1")}
    for group, versions in resources.groups().items():
        for version in versions:
            paths[f"apis/{group}/{version}"] = (group, version)
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={len(list(resources))}"} for path in paths
        }
    }


def v3(resources: Resources, schemas: Schemas, group: str, version: str) -> dict:
    served = resources.served(group, version)
    if not served:
        raise errors.no_such_path()
    prefix = "#/components/schemas/"
    documents, names = _documents(served, schemas, prefix)
    paths = {}
    for resource in served:
        paths.update(_paths(resource, names[resource.kind], prefix))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": paths,
        "components": {"schemas": documents},
    }


def v2(resources: Resources, schemas: Schemas, version: str) -> dict:
    prefix = "#/definitions/"
    documents, names = _documents(list(resources), schemas, prefix)
    paths = {}
    for resource in resources:
        paths.update(_paths(resource, names[resource.kind], prefix, swagger=True))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": documents,
    }


def v2_protobuf(resources: Resources, version: str) -> bytes:
    """The v2 document as the protobuf that older kubectl insists on: only what can be patched, and how.

    Such a kubectl merges by the types it was built with, but asks here whether there is a dry run; its own
    validation needs the definitions, which are left out, and must be turned off.
    """
    info = _field(1, b"Kubernetes") + _field(2, version.encode())
    query = b"".join(
        _field(8, _field(1, _field(2, _field(3, _field(2, b"query") + _field(4, name.encode())))))
        for name in (*_WRITING, "force")
    )
    paths = b""
    for resource in resources:
        gvk = f"group: {resource.group!r}\nkind: {resource.kind}\nversion: {resource.version}\n".encode()
        extension = _field(1, b"x-kubernetes-group-version-kind") + _field(2, _field(2, gvk))
        item = _field(8, query + _field(13, extension))
        paths += _field(2, _field(1, f"/{resource.qualified}/{{name}}".encode()) + _field(2, item))
    return _field(1, b"2.0") + _field(2, info) + _field(8, paths)


def _field(number: int, value: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def _documents(served: list[Resource], schemas: Schemas, prefix: str) -> tuple[dict, dict[str, str]]:
    """The schemas that the resources need, by name, and the name of each kind's."""
    names, documents = {}, {}
    wanted = []
    for resource in served:
        key = (resource.group, resource.version, resource.kind)
        if key in schemas.custom_schemas:
            name = ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])
            given = schemas.custom_schemas[key]
            documents[name] = {
                **_plain(given, prefix, wanted),
                "x-kubernetes-group-version-kind": [
                    {"group": resource.group, "version": resource.version, "kind": resource.kind}
                ],
            }
            text = {"type": "string"}
            documents[name]["properties"] = {
                **documents[name].get("properties", {}),
                "apiVersion": text,
                "kind": text,
                "metadata": {"allOf": [{"$ref": prefix + META}]},
            }
            wanted.append(META)
        else:
            name = schemas.definition_name(*key)
            if name:
                wanted.append(name)
        names[resource.kind] = name
    while wanted:
        name = wanted.pop()
        if name not in documents:
            documents[name] = {}
            documents[name] = _plain(schemas.definitions[name], prefix, wanted)
    return documents, names


def _plain(node: Any, prefix: str, wanted: list[str]) -> Any:
    """A definition without the nulls that JSON schema needs, its references collected in `wanted`."""
    if isinstance(node, list):
        return [_plain(item, prefix, wanted) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and isinstance(node["$ref"], str):
        name = node["$ref"].rpartition("/")[2]
        wanted.append(name)
        rest = {key: value for key, value in node.items() if key != "$ref"}
        if not rest or "definitions" in prefix:
            return {"$ref": prefix + name, **rest}
        return {"allOf": [{"$ref": prefix + name}], **rest}
    result = {}
    for key, value in node.items():
        if key == "type" and isinstance(value, list):
            value = next(word for word in value if word != "null")
        if key == "enum" and isinstance(value, list) and len(value) == 1:
            continue
        result[key] = _plain(value, prefix, wanted)
    return result


def _paths(resource: Resource, name: str, prefix: str, *, swagger: bool = False) -> dict:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if resource.namespaced:
        root += "/namespaces/{namespace}"
    gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}

    def operation(action: str, *query: str) -> dict:
        kind = {"type": "string"} if swagger else {"schema": {"type": "string"}}
        parameters = [{"name": word, "in": "query", **kind} for word in query]
        schema = {"$ref": prefix + name} if name else {"type": "object"}
        answer = {"schema": schema} if swagger else {"content": {"application/json": {"schema": schema}}}
        return {
            "operationId": f"{action}{resource.kind}",
            "parameters": parameters,
            "responses": {"200": {"description": "OK", **answer}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        }

    return {
        f"{root}/{resource.plural}": {
            "get": operation("list", "labelSelector", "fieldSelector", "limit", "continue"),
            "post": operation("post", *_WRITING),
        },
        f"{root}/{resource.plural}/{{name}}": {
            "get": operation("get"),
            "put": operation("put", *_WRITING),
            "patch": operation("patch", *_WRITING, "force"),
            "delete": operation("delete", "dryRun", "propagationPolicy"),
        },
    }
