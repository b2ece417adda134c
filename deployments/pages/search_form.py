"""The search form's parameters as the body of a query, and the same call for other tools."""

import array
import base64
import binascii
import json
import sys

from controlplane.errors import InvalidError
from deployments.pages.filters import filter_of

INCLUDES = ("content", "metadata", "vector")
RECALLS = [
    ("", "Default", "Between 95 % and 99 %: the target's own choice."),
    ("0.95", "95 %", "The fastest."),
    ("0.99", "99 %", "A wider search."),
    ("exact", "Exact", "Every point is compared."),
]
# Longer vectors are abridged where a call is shown.
NUMBERS_SHOWN = 4


def defaults(parameters) -> dict:
    """What the form shows of an address: every field, with its default when it is not given."""
    asked = "by" in parameters
    return {
        "by": parameters.get("by", "id"),
        "id": parameters.get("id", ""),
        "vector": vector_text(parameters),
        "text": parameters.get("text", ""),
        "fusion": parameters.get("fusion", ""),
        "rrf_k": parameters.get("rrf_k", ""),
        "vector_weight": parameters.get("vector_weight", ""),
        "filter": parameters.get("filter", ""),
        "namespace": parameters.get("namespace", ""),
        "top_k": parameters.get("top_k", "") or "10",
        "recall": parameters.get("recall", ""),
        "score_threshold": parameters.get("score_threshold", ""),
        "include": parameters.getlist("include") if asked else ["content", "metadata"],
        "cursor": parameters.get("cursor", ""),
        "asked": asked,
    }


def vector_text(parameters) -> str:
    """The vector as JSON; an address may carry it as base64 of float32, which is a third as long."""
    packed = parameters.get("vector_b64", "")
    if not packed:
        return parameters.get("vector", "").strip()
    try:
        numbers = array.array("f", base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError):
        return packed
    if sys.byteorder == "big":
        numbers.byteswap()
    return "[" + ", ".join(f"{value:.7g}" for value in numbers) + "]"


def query_body(given: dict) -> tuple[dict, dict]:
    """(the body of the call, {field: what is wrong with it}) of the form's fields."""
    errors: dict[str, str] = {}
    body = _asked_for(given, errors)
    top_k = given["top_k"]
    if top_k.isascii() and top_k.isdigit():
        body["top_k"] = int(top_k)
    else:
        errors["top_k"] = "Give a whole number."
    if given["namespace"].strip():
        body["namespace"] = given["namespace"].strip()
    try:
        body |= filter_of(given["filter"])
    except InvalidError as error:
        errors["filter"] = error.detail
    if given["recall"]:
        body["recall"] = given["recall"] if given["recall"] == "exact" else _number(given, "recall", errors)
    if given["score_threshold"].strip():
        body["score_threshold"] = _number(given, "score_threshold", errors)
    body["include"] = [part for part in INCLUDES if part in given["include"]]
    if given["cursor"]:
        body["cursor"] = given["cursor"]
    return body, errors


def _asked_for(given: dict, errors: dict) -> dict:
    """What is searched for: an id, a vector, a text, or a text beside one of the others."""
    body: dict = {}
    words = given["text"].strip()
    if given["by"] == "vector":
        text = given["vector"]
        try:
            body["vector"] = json.loads(text if text.startswith("[") else f"[{text}]")
        except ValueError:
            errors["vector"] = "This is no list of numbers, such as [0.1, 0.2, 0.3]."
        else:
            if not body["vector"]:
                errors["vector"] = "Paste a vector."
    elif given["by"] == "id":
        body["id"] = given["id"].strip()
        if not body["id"]:
            errors["id"] = "Give the id of a point to search for its neighbours."
    elif not words:
        errors["text"] = "Give the words to search for."
    if words:
        body["text"] = words
    if words and given["by"] != "text" and given["fusion"]:
        fusion: dict = {"method": given["fusion"]}
        if given["fusion"] == "rrf" and given["rrf_k"].strip():
            fusion["k"] = _number(given, "rrf_k", errors)
        if given["fusion"] == "weighted" and given["vector_weight"].strip():
            fusion["vector_weight"] = _number(given, "vector_weight", errors)
        body["fusion"] = fusion
    return body


def _number(given: dict, key: str, errors: dict):
    try:
        found = float(given[key])
    except ValueError:
        errors[key] = "Give a number."
        return None
    return int(found) if found.is_integer() and "." not in given[key] else found


def laid_out(body: dict) -> str:
    """JSON with a line for each field."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in body.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _abridged(text: str, vector) -> str:
    if not isinstance(vector, list) or len(vector) <= 2 * NUMBERS_SHOWN:
        return text
    return text.replace(
        json.dumps(vector, ensure_ascii=False), json.dumps(vector[:NUMBERS_SHOWN])[:-1] + ", ...]"
    )


def curl(url: str, body: dict) -> str:
    quoted = laid_out(body).replace("'", "'\\''")
    return (
        f"curl -sS '{url}' \\\n"
        '  -H "Authorization: Bearer $AINDUS_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{quoted}'"
    )


def python(root: str, target: str, collection: str, body: dict) -> str:
    """The call with the Python client, `clients/python`."""
    arguments = "".join(f"    {key}={value!r},\n" for key, value in body.items())
    return (
        "import os\n\n"
        "from aindusdb_client import Client\n\n"
        f'client = Client("{root}", api_key=os.environ["AINDUS_KEY"], target="{target}")\n'
        f"found = client.collection({collection!r}).query(\n"
        f"{arguments})\n"
        "for match in found:\n"
        "    print(match.score, match.id, match.content)"
    )


def calls(root: str, target: str, path: str, collection: str, body: dict) -> list[dict]:
    """[{key, label, text, whole}]: the same call in each form; `whole` is copied, `text` may be abridged.

    `root` is the control plane's address, `path` the collection's below the target's vector API.
    """
    url = f"{root}/api/v1/targets/{target}/vectors/{path}/query"
    forms = [
        ("curl", "curl", curl(url, body)),
        ("python", "Python", python(root, target, collection, body)),
        ("json", "JSON", laid_out(body)),
    ]
    return [
        {"key": key, "label": label, "whole": text, "text": _abridged(text, body.get("vector"))}
        for key, label, text in forms
    ]
