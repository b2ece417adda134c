"""Which files and URLs imports may read and exports may write: none but those that settings allow.

A path must lie, with every link followed, in a folder of AINDUS_TRANSFER_PATHS; a URL must start with an
entry of AINDUS_TRANSFER_URLS. Both are looked at when the job is asked for, and again when it runs.
"""

import ipaddress
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings

from controlplane.errors import ForbiddenError, InvalidError

SCHEMES = ("https", "http", "s3", "gs", "az")
URL_MOST = 4096
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotAllowedError(ForbiddenError):
    """This place may not be read or written here."""

    code = "place_not_allowed"


def path_allowed(text: str) -> Path:
    """The real path of a file, which need not be there; NotAllowedError, InvalidError."""
    if "\0" in text or not text.startswith("/"):
        raise InvalidError("A path is absolute, such as /srv/import/points.ndjson.", field="path")
    folders = settings.VECTORS["transfer_paths"]
    if not folders:
        raise NotAllowedError(
            "No folder of the server may be used: its operator allows them in AINDUS_TRANSFER_PATHS. Send an"
            " upload instead.",
            field="path",
        )
    try:
        found = Path(text).resolve()
        inside = any(found.is_relative_to(Path(folder).resolve()) for folder in folders)
    except (OSError, RuntimeError) as error:
        raise InvalidError(f"The path cannot be followed: {error}.", field="path") from None
    if not inside or found.is_dir():
        raise NotAllowedError(
            "The path is no file within a folder that may be used (AINDUS_TRANSFER_PATHS).", field="path"
        )
    return found


def url_allowed(url: str) -> str:
    """The URL; NotAllowedError, or InvalidError when it is none that is understood."""
    given = parsed(url)
    for entry in settings.VECTORS["transfer_urls"]:
        if _starts_with(given, entry):
            return url
    raise NotAllowedError(
        "This URL may not be used: the server's operator allows what URLs start with in"
        " AINDUS_TRANSFER_URLS; or send an upload.",
        field="url",
    )


def parsed(url: str):
    """The parts of a URL with one reading only; InvalidError."""
    try:
        found = urlsplit(url)
        # Reading it finds a port that is none.
        found.port  # noqa: B018
    except ValueError:
        found = None
    if found is None or len(url) > URL_MOST or re.search(r"[\x00-\x20\x7f\\]", url):
        raise InvalidError("This is no URL.", field="url")
    if found.scheme not in SCHEMES or not found.hostname:
        raise InvalidError(f"A URL starts with {', '.join(f'{name}://' for name in SCHEMES)}.", field="url")
    if found.username is not None or found.password is not None or found.fragment:
        raise InvalidError("A URL has no user, password or fragment here.", field="url")
    # A server may take dots away after we have compared, and so leave what was allowed.
    if any(part in (".", "..") for part in unquote(unquote(found.path)).replace("\\", "/").split("/")):
        raise InvalidError("The path of a URL has no dots as its parts here.", field="url")
    return found


def _starts_with(given, entry: str) -> bool:
    allowed = urlsplit(entry)
    if allowed.scheme != given.scheme:
        return False
    if allowed.hostname != "*" and (allowed.hostname or "").lower() != given.hostname.lower():
        return False
    if allowed.hostname != "*" and port_of(allowed) != port_of(given):
        return False
    path = allowed.path.rstrip("/")
    return given.path == path or given.path.startswith(f"{path}/") or (not path and not given.path)


def port_of(parts) -> int | None:
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def address_allowed(address: str) -> bool:
    """Whether an http(s) URL may lead to an IP address: a public one, or one of AINDUS_TRANSFER_NETWORKS."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        # An IPv4 address in another form is judged as itself.
        nat64 = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in NAT64 else None
        found = found.ipv4_mapped or found.sixtofour or nat64 or found
    for network in settings.VECTORS["transfer_networks"]:
        network = ipaddress.ip_network(network, strict=False)
        if found.version == network.version and found in network:
            return True
    return found.is_global and not found.is_multicast
