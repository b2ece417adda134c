"""How a cluster is reached: a kubeconfig read by an allow-list, or the service account of this pod."""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from deployments.errors import Invalid
from deployments.providers.base import ClusterAccess, Secret

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LONGEST_BYTES = 256 * 1024

# Why each refused field is refused; what stands in neither list is unknown and refused as well.
CLUSTER_FIELDS = frozenset({"server", "certificate-authority-data", "extensions"})
CLUSTER_REFUSED = {
    "insecure-skip-tls-verify": "the API server could be anybody; give certificate-authority-data",
    "proxy-url": "requests would be sent elsewhere first",
    "certificate-authority": "it names a file of your machine; use `kubectl config view --flatten --raw`",
    "tls-server-name": "the certificate must be that of the address",
    "disable-compression": "it is not needed",
}
USER_FIELDS = frozenset({"token", "client-certificate-data", "client-key-data", "extensions"})
USER_REFUSED = {
    "exec": "it would run a program on the worker; make a token for a service account instead "
    "(kubectl create token)",
    "auth-provider": "it was removed from Kubernetes; use a service account's token",
    "tokenFile": "it names a file of your machine; give the token itself",
    "client-certificate": "it names a file of your machine; use `kubectl config view --flatten --raw`",
    "client-key": "it names a file of your machine; use `kubectl config view --flatten --raw`",
    "username": "passwords were removed from Kubernetes; use a service account's token",
    "password": "passwords were removed from Kubernetes; use a service account's token",
    "as": "impersonation hides who acts; give credentials of the user itself",
    "as-uid": "impersonation hides who acts; give credentials of the user itself",
    "as-groups": "impersonation hides who acts; give credentials of the user itself",
    "as-user-extra": "impersonation hides who acts; give credentials of the user itself",
}


class _Loader(yaml.SafeLoader):
    """Without aliases: a small file must not become a huge value."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)


def _refuse(message: str, remedy: str = "", code: str = "kubeconfig_refused") -> Invalid:
    return Invalid(message, remedy=remedy, code=code)


def _named(config: Mapping[str, Any], plural: str, name: str, part: str) -> dict:
    for one in config.get(plural) or []:
        if isinstance(one, dict) and one.get("name") == name and isinstance(one.get(part), dict):
            return one[part]
    raise _refuse(
        f"The kubeconfig has no {part} named {name!r}.",
        "Give a whole kubeconfig: kubectl config view --flatten --minify --raw.",
    )


def _check(values: Mapping[str, Any], allowed: frozenset, refused: Mapping[str, str], part: str) -> None:
    for field, value in values.items():
        if field in allowed or value in (None, False, "", [], {}):
            continue
        reason = refused.get(field, "this field is not known here")
        raise _refuse(
            f"`{field}` of the {part} is refused: {reason}.", "Take the field out of the kubeconfig."
        )


def _pem(values: Mapping[str, Any], field: str) -> str:
    text = values.get(field) or ""
    if not text:
        return ""
    try:
        pem = base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError, TypeError):
        raise _refuse(f"`{field}` is not base64 of a PEM text.") from None
    if "-----BEGIN " not in pem:
        raise _refuse(f"`{field}` is not base64 of a PEM text.")
    return pem


def checked_server(server: Any) -> str:
    """The address of an API server; Invalid unless it is https with host, port and path alone."""
    text = server if isinstance(server, str) else ""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme == "http":
        raise _refuse(
            "The server's address is http: secrets would be sent in the open.", "Use its https address."
        )
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme != "https" or not parts.hostname or not plain or port == 0:
        raise _refuse(f"{text[:200]!r} is not the https address of an API server.")
    return text.rstrip("/")


def kubeconfig_access(text: str, context: str = "") -> tuple[ClusterAccess, dict]:
    """(access, {context, server, user}) of one context of a kubeconfig; only that context is looked at.

    Invalid names the field that is refused, and why.
    """
    if len(text.encode()) > LONGEST_BYTES:
        raise _refuse(f"The kubeconfig is larger than {LONGEST_BYTES // 1024} KiB.")
    try:
        config = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise _refuse("The kubeconfig is not valid YAML.", "Paste it whole, with its indentation.") from None
    if not isinstance(config, dict) or config.get("kind", "Config") != "Config":
        raise _refuse(
            "This is not a kubeconfig.", "Give the output of kubectl config view --flatten --minify --raw."
        )
    name = context or config.get("current-context") or ""
    if not name:
        known = [str(one.get("name")) for one in config.get("contexts") or [] if isinstance(one, dict)]
        raise _refuse(
            "The kubeconfig has no current-context.", f"Name one of its contexts: {', '.join(known)}."
        )
    chosen = _named(config, "contexts", name, "context")
    cluster = _named(config, "clusters", chosen.get("cluster"), "cluster")
    user = _named(config, "users", chosen.get("user"), "user")
    _check(cluster, CLUSTER_FIELDS, CLUSTER_REFUSED, "cluster")
    _check(user, USER_FIELDS, USER_REFUSED, "user")
    credentials = {}
    if user.get("token"):
        token = user["token"]
        if not isinstance(token, str) or not token.isascii() or any(one.isspace() for one in token):
            raise _refuse("The user's token is not one: it holds spaces or other characters.")
        credentials["token"] = token
    elif user.get("client-certificate-data"):
        credentials["client_certificate"] = _pem(user, "client-certificate-data")
        credentials["client_key"] = _pem(user, "client-key-data")
        if not credentials["client_key"]:
            raise _refuse("The user has a client certificate without client-key-data.")
    else:
        raise _refuse(
            "The user of the kubeconfig has neither token nor client-certificate-data.",
            "Make a token: kubectl create token SERVICE_ACCOUNT --duration=8760h.",
        )
    access = ClusterAccess(
        server=checked_server(cluster.get("server")),
        certificate_authority=_pem(cluster, "certificate-authority-data"),
        credentials=Secret(credentials),
    )
    return access, {"context": name, "server": access.server, "user": str(chosen.get("user"))}


def in_cluster_access(folder: Path = SERVICE_ACCOUNT) -> ClusterAccess:
    """The cluster this process runs in, by its pod's service account. The token is read anew each time."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = (folder / "token").read_text().strip()
        authority = (folder / "ca.crt").read_text()
    except OSError:
        token = authority = ""
    if not host or not token:
        raise Invalid(
            "The control plane does not run in a cluster, or its pod has no service account's token.",
            remedy="Give a kubeconfig instead.",
            code="not_in_cluster",
        )
    place = f"[{host}]" if ":" in host else host
    return ClusterAccess(f"https://{place}:{port}", authority, Secret({"token": token}))
