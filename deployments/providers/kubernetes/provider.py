"""The provider `kubernetes`: a cluster that is there already. Servers are made in it where none is given."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from django.conf import settings

from deployments.errors import Invalid, ProviderError, QuotaExceeded
from deployments.providers.base import (
    SUCCEEDED,
    AcceptedCredentials,
    Change,
    ClusterAccess,
    Drift,
    PlanResult,
    Problem,
    Progress,
    Secret,
    TargetSpec,
    provider,
)
from deployments.providers.kubernetes.schema import CREDENTIALS_SCHEMA, PRESETS, SPEC_SCHEMA
from deployments.runtimes.kubernetes import access, repairing
from deployments.runtimes.kubernetes.applying import Applier
from deployments.runtimes.kubernetes.client import ClusterClient, client_for
from deployments.runtimes.kubernetes.manifests import postgres, redis
from deployments.runtimes.kubernetes.manifests.place import Place
from deployments.runtimes.kubernetes.manifests.whole import infrastructure
from deployments.runtimes.kubernetes.preflight import capabilities, preflight, reachable
from deployments.runtimes.kubernetes.servers import servers_progress
from deployments.runtimes.workload import Manifest

PART = "infrastructure"
NO_ACCOUNT = Invalid(
    "The target has no account, so it is not known which cluster is meant.",
    remedy="Make an account with the cluster's kubeconfig, and name it.",
    code="account_missing",
)


@provider
class KubernetesProvider:
    """An existing cluster: a namespace of its own for each target."""

    name = "kubernetes"
    label = "Kubernetes cluster"
    runtime = "kubernetes"
    regions = ("cluster",)
    spec_schema = SPEC_SCHEMA
    credentials_schema = CREDENTIALS_SCHEMA
    presets = PRESETS

    # Accounts and access

    def accept_credentials(self, given: Mapping[str, Any]) -> AcceptedCredentials:
        """Keeps server, authority and identity of one context; Invalid says what is refused and why."""
        kubeconfig = (given.get("kubeconfig") or "").strip()
        if given.get("in_cluster"):
            if kubeconfig:
                raise Invalid("Give a kubeconfig or in_cluster, not both.", code="credentials_both")
            self._need_in_cluster()
            return AcceptedCredentials(Secret({"in_cluster": "true"}), {"kind": "in_cluster"})
        if not kubeconfig:
            raise Invalid("Give the cluster's kubeconfig.", code="kubeconfig_missing")
        found, shown = access.kubeconfig_access(kubeconfig, given.get("context") or "")
        kept = dict(found.credentials.values) | {
            "server": found.server,
            "certificate_authority": found.certificate_authority,
        }
        kind = "token" if "token" in kept else "client_certificate"
        return AcceptedCredentials(Secret(kept), {"kind": kind, **shown})

    @staticmethod
    def _need_in_cluster() -> None:
        if not settings.IN_CLUSTER_ACCESS:
            raise Invalid(
                "The control plane's own service account is not given to accounts.",
                remedy="Whoever runs the control plane may allow it: AINDUS_IN_CLUSTER_ACCESS=true.",
                code="in_cluster_refused",
            )

    def _access(self, credentials: Secret) -> ClusterAccess:
        kept = dict(credentials.values)
        if kept.get("in_cluster"):
            self._need_in_cluster()
            return access.in_cluster_access()
        if not kept.get("server"):
            raise NO_ACCOUNT
        identity = {
            name: kept[name] for name in ("token", "client_certificate", "client_key") if kept.get(name)
        }
        return ClusterAccess(kept["server"], kept.get("certificate_authority", ""), Secret(identity))

    def check_credentials(self, credentials: Secret) -> list[Problem]:
        """Whether the cluster answers, knows who asks, and runs a version that is kept up."""
        try:
            return reachable(client_for(self._access(credentials)))
        except ProviderError as error:
            return [Problem("credentials", str(error), error.remedy, code=error.code)]

    def cluster_access(self, target: TargetSpec) -> ClusterAccess:
        """How the account says."""
        return self._access(target.credentials)

    def _client(self, target: TargetSpec) -> ClusterClient:
        return client_for(self.cluster_access(target))

    # Infrastructure

    @staticmethod
    def _place(target: TargetSpec, known: Mapping[str, Any] | None = None) -> Place:
        seen = dict(target.capabilities) | dict(known or {})
        return Place(target.target_id, target.name, {**target.spec, "capabilities": seen}, target.secrets)

    def _applier(self, target: TargetSpec, client: ClusterClient) -> tuple[Applier, Place]:
        place = self._place(target)
        place = self._place(target, capabilities(client, place))
        return Applier(client, place, PART), place

    def manifests(self, target: TargetSpec) -> tuple[Manifest, ...]:
        """Namespace, database and Redis, by the capabilities that were remembered."""
        return infrastructure(self._place(target))

    def validate(self, target: TargetSpec) -> list[Problem]:
        """What is missing of the spec, and the preflight of the cluster."""
        problems = [
            Problem(
                f"spec.{part}.url",
                f"{label} is external, and its URL is not known.",
                "Give the URL, or choose in_cluster.",
                code="url_missing",
            )
            for part, label in (("database", "The database"), ("redis", "Redis"))
            if (target.spec.get(part) or {}).get("mode") == "external"
            and not target.secrets.values.get(f"{part}_url")
        ]
        try:
            client = self._client(target)
            applier, place = self._applier(target, client)
            manifests = infrastructure(place)
            problems += preflight(client, place, manifests)
            if not any(one.severity == "error" for one in problems):
                problems += self._conflicts(applier, manifests)
        except ProviderError as error:
            problems.append(Problem("account", str(error), error.remedy, code=error.code))
        return problems

    @staticmethod
    def _conflicts(applier: Applier, manifests) -> list[Problem]:
        try:
            return applier.compare(manifests)[1]
        except (Invalid, QuotaExceeded) as error:
            return [Problem("spec", str(error), error.remedy, code=error.code)]

    def plan(self, target: TargetSpec, current: TargetSpec | None) -> PlanResult:
        """What differs at the cluster from what the spec asks for, by its own dry run."""
        target = replace(target, secrets=self.prepare(target))
        try:
            applier, place = self._applier(target, self._client(target))
            changes, _ = applier.compare(infrastructure(place))
        except ProviderError:
            # validate() says why; without the cluster, what would be made is what is told.
            place = self._place(target)
            changes = tuple(
                Change("create", one.document["kind"], one.document["metadata"]["name"])
                for one in infrastructure(place)
            )
            changes = changes if current is None else ()
        return PlanResult(changes)

    def prepare(self, target: TargetSpec) -> Secret:
        """Passwords of the servers in the cluster, generated once, and the URLs they are used in."""
        known = dict(target.secrets.values)
        place = self._place(target)
        if postgres.in_cluster(place):
            for name in ("database_password", "database_admin_password"):
                known.setdefault(name, secrets.token_hex(24))
            host = f"{postgres.POSTGRES}.{place.namespace}.svc"
            known["database_url"] = _url(
                "postgresql", postgres.USER, known["database_password"], f"{host}:5432/{postgres.DATABASE}"
            )
        if redis.in_cluster(place):
            known.setdefault("redis_password", secrets.token_hex(24))
            host = f"{redis.REDIS}.{place.namespace}.svc"
            known["redis_url"] = _url("redis", "", known["redis_password"], f"{host}:6379/0")
        # It keys the checksums of the objects, so it is there before them.
        known.setdefault("jwt_secret", secrets.token_urlsafe(48))
        return Secret(known)

    def apply(self, target: TargetSpec, token: str) -> Mapping[str, Any]:
        """Namespace, database and Redis, as the spec says; returns at once."""
        applier, place = self._applier(target, self._client(target))
        applier.apply(infrastructure(place))
        return {"namespace": place.namespace, "token": token}

    def observe(self, target: TargetSpec, ref: Mapping[str, Any]) -> Progress:
        """Whether namespace, database and Redis are there and ready."""
        client = self._client(target)
        applier, place = self._applier(target, client)
        progress = servers_progress(client, place, applier)
        if progress.state != SUCCEEDED:
            return progress
        outputs = {
            "namespace": place.namespace,
            "server": client.server,
            "kubernetes": place.capabilities["version"],
            "capabilities": dict(place.capabilities),
        }
        return replace(progress, outputs=outputs, percent=100)

    def drift(self, target: TargetSpec, ref: Mapping[str, Any]) -> list[Drift]:
        """What somebody else changed about the namespace, the database and Redis."""
        applier, place = self._applier(target, self._client(target))
        return applier.drift(infrastructure(place))

    def revert(self, target: TargetSpec, drift: Drift, others: frozenset[str]) -> None:
        """Put one field back, whoever changed it."""
        applier, place = self._applier(target, self._client(target))
        applier = Applier(applier.client, place, PART, others)
        repairing.revert(applier, infrastructure(place), drift)

    def adopted(self, target: TargetSpec, drift: Drift) -> Mapping[str, Any]:
        """The fields of the spec that make a field as it is now what is wanted."""
        _, place = self._applier(target, self._client(target))
        return repairing.adopted(place.spec, drift, lambda spec: infrastructure(replace(place, spec=spec)))

    def destroy(self, target: TargetSpec, ref: Mapping[str, Any], token: str) -> Mapping[str, Any]:
        """Remove database with its volume, Redis and, when nothing else is in it, the namespace."""
        Applier(self._client(target), self._place(target), PART).remove()
        return {}


def _url(scheme: str, user: str, password: str, rest: str) -> str:
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
