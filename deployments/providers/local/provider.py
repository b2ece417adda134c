"""The provider `local`: an own role and database in the PostgreSQL server the control plane runs on."""

import secrets
import shutil
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from controlplane.ids import decode
from deployments.errors import Invalid, ProviderError, Transient
from deployments.providers.base import (
    ABSENT,
    FAILED,
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
from deployments.providers.local.client import PostgresClient
from deployments.providers.local.databases import LocalDatabases

FREE_DISK_LEAST_BYTES = 1 << 30
FREE_DISK_WARNING_BYTES = 5 << 30
# A replica of the default configuration: two request threads, its own work, and a probe.
CONNECTIONS_PER_REPLICA = 4


def object_name(target_id: str) -> str:
    """The name of a target's role and database: the same for the same target, for ever."""
    return f"aindus_t_{decode('tgt', target_id).hex}"


@provider
class LocalProvider:
    """This machine: a database of its own in the running PostgreSQL, replicas as processes."""

    name = "local"
    label = "This machine"
    runtime = "processes"
    regions = ("local",)
    credentials_schema = {}
    spec_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "replicas": {
                "type": "integer",
                "minimum": 1,
                "maximum": 16,
                "default": 2,
                "title": "Replicas",
                "description": "Processes that serve the vector API side by side; "
                "two or more keep serving while one is replaced.",
            },
            "connection_limit": {
                "type": "integer",
                "minimum": -1,
                "maximum": 10000,
                "default": -1,
                "title": "Connection limit",
                "description": "Most connections to PostgreSQL that all replicas of this target may hold "
                "together; -1 for no limit but the server's.",
            },
        },
    }
    presets = {
        "small": {"title": "Small", "description": "One replica, for trying out.", "spec": {"replicas": 1}},
        "standard": {
            "title": "Standard",
            "description": "Two replicas: rollouts and a crash go unnoticed.",
            "spec": {"replicas": 2},
        },
        "busy": {
            "title": "Busy",
            "description": "Four replicas, for a machine with four cores or more.",
            "spec": {"replicas": 4},
        },
    }

    def __init__(self, admin_url: str = ""):
        self.client = PostgresClient(admin_url or settings.DATABASE_URL)

    def validate(self, target: TargetSpec) -> list[Problem]:
        """What stands in the way on this machine: disk, PostgreSQL, its extension, rights, connections."""
        return [*self._disk_problems(), *self._server_problems(target)]

    def _disk_problems(self) -> list[Problem]:
        free = shutil.disk_usage(_existing(settings.DATA_DIR)).free
        if free >= FREE_DISK_WARNING_BYTES:
            return []
        return [
            Problem(
                "spec",
                f"Only {free / 2**30:.1f} GiB are free on the disk of {settings.DATA_DIR}.",
                "Free space there, or move the data directory (AINDUS_DATA_DIR) to a larger disk.",
                severity="error" if free < FREE_DISK_LEAST_BYTES else "warning",
                code="disk_space",
            )
        ]

    def _server_problems(self, target: TargetSpec) -> list[Problem]:
        try:
            server = self.client.server()
        except ProviderError as error:
            return [Problem("spec", str(error), error.remedy, code="postgresql_unreachable")]
        problems = []
        if server["vector"] is None:
            problems.append(
                Problem(
                    "spec",
                    "The PostgreSQL server does not have the extension `vector`.",
                    "Install pgvector on the server (package postgresql-NN-pgvector), "
                    "or use the embedded server.",
                    code="extension_missing",
                )
            )
        if not server["superuser"] and not (server["createdb"] and server["createrole"]):
            problems.append(
                Problem(
                    "spec",
                    "The user of DATABASE_URL may not create databases and roles.",
                    "ALTER ROLE ... CREATEDB CREATEROLE, as a superuser of the server.",
                    code="denied",
                )
            )
        replicas = target.spec.get("replicas", 2)
        needed = (replicas + 1) * CONNECTIONS_PER_REPLICA
        room = server["max_connections"] - server["connections"]
        if needed > room:
            problems.append(
                Problem(
                    "spec.replicas",
                    f"{replicas} replicas need about {needed} connections to PostgreSQL; {room} are free.",
                    "Choose fewer replicas, or raise max_connections on the server.",
                    code="quota_exceeded",
                )
            )
        limit = target.spec.get("connection_limit", -1)
        if 0 <= limit < needed:
            problems.append(
                Problem(
                    "spec.connection_limit",
                    f"{replicas} replicas and one more during a rollout need {needed} connections.",
                    f"Set the limit to {needed} or more, or to -1 for none.",
                    code="quota_exceeded",
                )
            )
        return problems

    def plan(self, target: TargetSpec, current: TargetSpec | None) -> PlanResult:
        """What applying the spec would create or change, against what is there."""
        name = object_name(target.target_id)
        changes = []
        if current is None:
            changes += [
                Change("create", "database role", name, _made({"connection_limit": -1} | dict(target.spec))),
                Change("create", "database", name, {"extension": [None, "vector"]}),
                Change("create", "replicas", target.name, {"count": [None, target.spec["replicas"]]}),
            ]
            return PlanResult(tuple(changes))
        before, after = current.spec, target.spec
        if before.get("connection_limit", -1) != after.get("connection_limit", -1):
            fields = {
                "connection_limit": [before.get("connection_limit", -1), after.get("connection_limit", -1)]
            }
            changes.append(Change("change", "database role", name, fields))
        if before.get("replicas") != after["replicas"]:
            fields = {"count": [before.get("replicas"), after["replicas"]]}
            changes.append(Change("change", "replicas", target.name, fields))
        changes += [
            Change(
                "create" if drift.actual is None else "change",
                drift.kind,
                drift.name,
                {drift.field: [drift.actual, drift.expected]},
            )
            for drift in self._drift_or_nothing(current)
        ]
        return PlanResult(tuple(changes))

    def databases(self) -> LocalDatabases:
        """Databases beside a target's own, for restores."""
        return LocalDatabases(self.client, object_name)

    def _drift_or_nothing(self, target: TargetSpec) -> list[Drift]:
        try:
            return self.drift(target, {})
        except Transient:
            # validate() reports an unreachable server; a plan must not fail for it as well.
            return []

    def prepare(self, target: TargetSpec) -> Secret:
        """The database password, generated once, and the URL it is used in."""
        password = target.secrets.values.get("database_password") or secrets.token_hex(24)
        return Secret(
            {
                "database_password": password,
                "database_url": self.client.url(object_name(target.target_id), password),
            }
        )

    def apply(self, target: TargetSpec, token: str) -> Mapping[str, Any]:
        """Make the role and the database, or bring them back to what they should be."""
        name = object_name(target.target_id)
        password = target.secrets.values["database_password"]
        self.client.ensure_role(name, password, target.spec.get("connection_limit", -1))
        self.client.ensure_database(name)
        return {"database": name, "role": name, "token": token}

    def observe(self, target: TargetSpec, ref: Mapping[str, Any]) -> Progress:
        """Whether role and database are there and whole."""
        name = object_name(target.target_id)
        found = self.client.observe(name)
        if not found["role"] and not found["database"]:
            return Progress(ABSENT, message="There is neither role nor database.")
        missing = [part for part in ("role", "database", "vector") if not found[part]]
        if missing:
            return Progress(
                FAILED,
                error=f"{name} lacks its {' and '.join(missing)}.",
                remedy="Apply the target's plan again; it makes what is missing.",
            )
        outputs = {"database": name, "role": name, "pgvector": found["vector"]}
        return Progress(SUCCEEDED, outputs=outputs, percent=100)

    def drift(self, target: TargetSpec, ref: Mapping[str, Any]) -> list[Drift]:
        """What somebody else changed about the role and the database."""
        name = object_name(target.target_id)
        found = self.client.observe(name)
        drifts = []
        if not found["role"]:
            drifts.append(Drift("database role", name, "name", name, None))
        else:
            limit = target.spec.get("connection_limit", -1)
            if found["connection_limit"] != limit:
                drifts.append(
                    Drift("database role", name, "connection_limit", limit, found["connection_limit"])
                )
            if not found["can_sign_in"]:
                drifts.append(Drift("database role", name, "login", True, False))
        if not found["database"]:
            drifts.append(Drift("database", name, "name", name, None))
            return drifts
        if found["owner"] != name:
            drifts.append(Drift("database", name, "owner", name, found["owner"]))
        if found["public_connect"]:
            drifts.append(Drift("database", name, "connect_by_public", False, True))
        if found["vector"] is None:
            drifts.append(Drift("database", name, "extension", "vector", None))
        return drifts

    def revert(self, target: TargetSpec, drift: Drift, others: frozenset[str]) -> None:
        """Put one property of the role or the database back."""
        name = object_name(target.target_id)
        match drift.kind, drift.field:
            case "database role", "connection_limit" | "login" as what:
                self.client.set_role(name, what, drift.expected)
            case "database", "owner":
                self.client.set_owner(name)
            case "database", "connect_by_public":
                self.client.close_to_public(name)
            case "database", "extension":
                self.client.ensure_extension(name)
            case _:
                # A role or database that is gone is made anew, with everything it should have.
                self.apply(target, "revert")

    def adopted(self, target: TargetSpec, drift: Drift) -> Mapping[str, Any]:
        """The connection limit alone is a matter of the spec."""
        if (drift.kind, drift.field) == ("database role", "connection_limit"):
            return {"connection_limit": drift.actual}
        raise Invalid(
            f"The {drift.kind}'s {drift.field} is no matter of the spec: the target would not work so, or not"
            " be closed to others.",
            remedy="Revert it, or ignore it with the reason.",
        )

    def destroy(self, target: TargetSpec, ref: Mapping[str, Any], token: str) -> Mapping[str, Any]:
        """Drop the database with everything in it, then the role."""
        self.client.drop(object_name(target.target_id))
        return {}

    def cluster_access(self, target: TargetSpec) -> ClusterAccess:
        """There is none."""
        raise Invalid("This machine is no Kubernetes cluster.", remedy="Use a target of another provider.")

    def manifests(self, target: TargetSpec) -> tuple:
        """None."""
        return ()

    def accept_credentials(self, given: Mapping[str, Any]) -> AcceptedCredentials:
        """None are needed, so none are taken."""
        raise Invalid("This machine needs no account.", remedy="Make the target without one.")

    def check_credentials(self, credentials: Secret) -> list[Problem]:
        """Nothing to check."""
        return []


def _existing(path):
    while not path.exists():
        path = path.parent
    return path


def _made(spec: Mapping[str, Any]) -> dict:
    return {"connection_limit": [None, spec["connection_limit"]]}
