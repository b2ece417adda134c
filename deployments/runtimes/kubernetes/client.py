"""Talks to a cluster's API server: the official client's transport, and its answers as our errors.

No redirect is followed and nothing but the API server is called: a pod that answers through the proxy must
not be able to send the control plane elsewhere.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from deployments.errors import Conflict, Denied, Invalid, NotFound, ProviderError, QuotaExceeded, Transient
from deployments.providers.base import ClusterAccess
from deployments.runtimes.kubernetes.kinds import Kind, kind_of

FIELD_MANAGER = "aindusdb"
CONNECT_SECONDS = 3.0
READ_SECONDS = 8.0
PAGE = 500
# A list of ours is never so long; what is longer is cut rather than read without end.
PAGES_MOST = 40
CLIENTS_MOST = 64
OTHER_MANAGER = re.compile(r'conflict with "([^"]+)"')


@contextmanager
def _pem_file(text: str):
    """A path that holds a PEM text in memory alone: what OpenSSL takes, and no disk ever sees."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class FieldConflict(Conflict):
    """Another field manager owns fields that we would set. `fields` maps a field to its manager."""

    def __init__(self, message: str, *, fields: Mapping[str, str], remedy: str = ""):
        super().__init__(message, remedy=remedy, code="field_conflict")
        self.fields = dict(fields)


class ClusterClient:
    """One API server by one identity. Thread-safe; connections are kept."""

    def __init__(self, access: ClusterAccess):
        self.server = access.server.rstrip("/")
        self._token = access.credentials.values.get("token", "")
        self._pool = self._made_pool(access)

    def __repr__(self):
        return f"ClusterClient({self.server})"

    def _made_pool(self, access: ClusterAccess):
        import ssl

        from kubernetes.client import Configuration
        from kubernetes.client.rest import RESTClientObject

        if not self.server.startswith("https://"):
            raise Invalid(
                "The API server's address is not https.", remedy="Give an address that starts with https://."
            )
        configuration = Configuration(host=self.server)
        configuration.verify_ssl = True
        configuration.proxy = None
        configuration.no_proxy = None
        configuration.connection_pool_maxsize = 8
        pool = RESTClientObject(configuration).pool_manager
        try:
            context = ssl.create_default_context(cadata=access.certificate_authority or None)
            # Authorities that clusters make for themselves lack extensions that a public one has.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            certificate = access.credentials.values.get("client_certificate", "")
            if certificate:
                key = access.credentials.values.get("client_key", "")
                with _pem_file(certificate) as chain, _pem_file(key) as private:
                    context.load_cert_chain(chain, private)
        except (ssl.SSLError, ValueError) as error:
            raise Invalid(
                "The certificate authority, client certificate or key of the cluster cannot be read.",
                remedy="Give them as they stand in the kubeconfig.",
                code="certificate_unreadable",
            ) from error
        pool.connection_pool_kw["ssl_context"] = context
        return pool

    # Requests

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = READ_SECONDS,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of one request, whatever the status; Transient when there is no answer."""
        import urllib3

        sent = {**(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        url = self.server + quote(path, safe="/:?&=%.,~-_!$'()*+;@")
        if query:
            url += ("&" if "?" in path else "?") + urlencode(query)
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=sent,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), read=timeout_seconds),
            )
        except urllib3.exceptions.SSLError as error:
            raise Denied(
                f"The certificate of {self.server} is not the cluster's: {_short(error)}",
                remedy="Take certificate-authority-data from the cluster's own kubeconfig.",
                code="certificate_refused",
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Transient(
                f"The API server {self.server} does not answer: {_short(error)}",
                remedy="See that the cluster runs and can be reached from here (network, firewall, address).",
                code="cluster_unreachable",
            ) from error
        return response.status, response.headers, response.data

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout_seconds: float = READ_SECONDS,
    ) -> dict:
        """The JSON answer of the API; what is not 2xx is raised as one of deployments.errors."""
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
            headers["Content-Type"] = content_type
        status, _, answer = self.send(
            method, path, query=query, body=data, headers=headers, timeout_seconds=timeout_seconds
        )
        if not 200 <= status < 300:
            raise error_of(status, answer, what=f"{method} {path}")
        try:
            return json.loads(answer)
        except ValueError:
            raise Transient(
                f"{self.server} does not answer as a Kubernetes API server.",
                remedy="See that the address is the API server's, and no sign-in page stands before it.",
                code="not_kubernetes",
            ) from None

    # Objects

    def get(self, kind: Kind, name: str, namespace: str = "") -> dict | None:
        """The object; None when there is none, nor such a kind."""
        try:
            return self.call("GET", kind.path(namespace, name))
        except NotFound:
            return None

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> list[dict]:
        """All objects that match; none where the kind is not known."""
        query = {"limit": PAGE}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        found: list[dict] = []
        for _ in range(PAGES_MOST):
            try:
                page = self.call("GET", kind.path(namespace), query=query)
            except NotFound:
                return found
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = token
        return found

    def apply(self, document: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> dict:
        """Server-side apply by our field manager; FieldConflict names who else owns a field."""
        meta = document["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            return self.call(
                "PATCH",
                kind_of(document).path(meta.get("namespace", ""), meta["name"]),
                query=query,
                body=document,
                content_type="application/apply-patch+yaml",
            )
        except NotFound as error:
            if "not found" in str(error):
                raise
            # No object is missing, for applying makes it: the server does not serve the kind.
            raise Invalid(
                f"The cluster does not know the kind {document['kind']} of {document['apiVersion']}.",
                remedy="Install what defines it, or apply a new plan: it reads what the cluster has.",
                code="kind_unknown",
            ) from error

    def create(self, kind: Kind, document: Mapping[str, Any], namespace: str = "") -> dict:
        """POST; Conflict when it exists."""
        return self.call("POST", kind.path(namespace), body=document, query={"fieldManager": FIELD_MANAGER})

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Ask for the deletion with all that hangs on it; absence is fine, another of the name is left."""
        options: dict[str, Any] = {"propagationPolicy": "Foreground"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.call("DELETE", kind.path(namespace, name), body=options)
        except NotFound:
            return
        except Conflict:
            # The name belongs to another object by now: ours is gone.
            if not uid:
                raise

    def version(self) -> dict:
        """{major, minor, gitVersion, ...} of the API server."""
        return self.call("GET", "/version")

    def api_versions(self) -> set[str]:
        """Every `group/version` the server knows."""
        groups = self.call("GET", "/apis").get("groups") or []
        return {one["groupVersion"] for group in groups for one in group.get("versions") or []}

    def resources(self, api_version: str) -> set[str]:
        """The plural names of a `group/version`; empty when it is unknown."""
        try:
            answer = self.call("GET", f"/apis/{api_version}")
        except NotFound:
            return set()
        return {one["name"] for one in answer.get("resources") or []}


def _short(error: Exception) -> str:
    text = str(error).rsplit(": ", 1)[-1].strip("()' ")
    return f"{text}." if text else f"{type(error).__name__}."


def error_of(status: int, answer: bytes, *, what: str = "") -> ProviderError:
    """A refused request as one of our errors, in the API server's own words."""
    try:
        told = json.loads(answer)
    except ValueError:
        told = {}
    if not isinstance(told, dict) or told.get("kind") != "Status":
        told = {}
    message = told.get("message") or f"The API server answered {status} to {what}."
    details = told.get("details") or {}
    causes = details.get("causes") or []
    lower = message.lower()
    if status == 401:
        return Denied(
            "The cluster does not accept the credentials.",
            remedy="Give the account a new token or client certificate; the present one is wrong or expired.",
            code="unauthorized",
        )
    if status == 403 and "exceeded quota" in lower:
        return QuotaExceeded(
            f"The namespace's quota is used up: {message}",
            remedy="Raise the ResourceQuota, or ask for fewer replicas or smaller requests.",
        )
    if "admission webhook" in lower or "violates podsecurity" in lower or "denied the request" in lower:
        return Invalid(
            f"The cluster's admission control refused it: {message}",
            remedy="Ask who runs the policy named there; change the spec, or have an exception made.",
            code="admission",
        )
    if status == 403 and "being terminated" in lower:
        return Transient(message, remedy="Wait until the namespace is gone; it is tried again by itself.")
    if status == 403:
        return Denied(
            f"The cluster forbids it: {message}",
            remedy="Grant the account's user the permission named there (Role or ClusterRole).",
            code="forbidden",
        )
    if status == 404:
        return NotFound(message)
    if status == 409:
        owners = {
            cause.get("field", ""): found[1]
            for cause in causes
            if (found := OTHER_MANAGER.search(cause.get("message", "")))
        }
        if owners:
            names = ", ".join(sorted(set(owners.values())))
            fields = ", ".join(sorted(owners))
            return FieldConflict(
                f"{details.get('kind') or 'An object'} {details.get('name') or '?'}: {names} owns {fields}.",
                fields=owners,
                remedy=f"Have {names} give the fields up, or take them over by reverting the drift.",
            )
        return Conflict(message, remedy="Something else changed it at the same moment; try again.")
    if status in (400, 405, 406, 415, 422):
        return Invalid(f"The cluster refused it: {message}", remedy="Correct the field named there.")
    return Transient(f"The API server answered {status}: {message}", remedy="It is tried again by itself.")


_clients: dict[tuple, ClusterClient] = {}
_lock = threading.Lock()


def client_for(access: ClusterAccess) -> ClusterClient:
    """A client of this process for this access; the same one, with its connections, for the same access."""
    parts = [access.server, access.certificate_authority, *sorted(access.credentials.values.items())]
    key = (os.getpid(), hashlib.sha256(repr(parts).encode()).hexdigest())
    with _lock:
        client = _clients.pop(key, None) or ClusterClient(access)
        _clients[key] = client
        while len(_clients) > CLIENTS_MOST:
            _clients.pop(next(iter(_clients)))
        return client
