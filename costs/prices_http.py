"""Reading price lists over HTTP: streamed, so that a list of hundreds of megabytes takes no memory."""

import csv
import http.client
import io
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from deployments.errors import Denied, Invalid, NotFound, Transient

TIMEOUT_SECONDS = 30
MOST_PAGE_BYTES = 64 * 2**20
AGENT = {"User-Agent": "aindusdb-control-plane", "Accept-Encoding": "identity"}


def _opened(url: str):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=AGENT), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(url, error.code) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise Transient(f"{_host(url)} does not answer ({getattr(error, 'reason', error)}).") from error


def _refused(url: str, status: int) -> Exception:
    host = _host(url)
    if status in (401, 403):
        return Denied(
            f"{host} refuses the price list ({status}).", remedy="Check the API key that reads prices."
        )
    if status == 404:
        return NotFound(f"{host} has no such price list.", remedy="Check the region's name.")
    if status == 429 or status >= 500:
        return Transient(f"{host} answers {status} for now.")
    return Invalid(f"{host} answers {status}.")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or "The price API"


def get_json(url: str) -> dict:
    """The JSON object at an address."""
    with _opened(url) as answer:
        try:
            body = answer.read(MOST_PAGE_BYTES + 1)
        except (http.client.HTTPException, OSError) as error:
            raise Transient(f"{_host(url)} broke off: {error}.") from error
    if len(body) > MOST_PAGE_BYTES:
        raise Invalid(f"A page of {_host(url)} has more than {MOST_PAGE_BYTES} bytes.")
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Transient(f"{_host(url)} did not answer JSON.") from error
    if not isinstance(document, dict):
        raise Invalid(f"{_host(url)} did not answer an object.")
    return document


def csv_rows(url: str, header_begins: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV file as {column: text}; lines before the one that begins with `header_begins` are
    skipped.
    """
    with _opened(url) as answer:
        try:
            yield from _dict_rows(io.TextIOWrapper(answer, "utf-8", newline=""), header_begins, url)
        except (http.client.HTTPException, OSError) as error:
            raise Transient(f"{_host(url)} broke off: {error}.") from error


def _dict_rows(text, header_begins: str, url: str) -> Iterator[dict[str, str]]:
    reader = csv.reader(text)
    for row in reader:
        if row and row[0] == header_begins:
            names = row
            break
    else:
        raise Invalid(f"{_host(url)} did not answer a price list.")
    for row in reader:
        if len(row) != len(names):
            raise Transient(f"{_host(url)} broke off within a row.")
        yield dict(zip(names, row, strict=True))
