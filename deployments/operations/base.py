"""What every operation on a target has at hand. Nothing here knows a provider or runtime by name."""

from functools import cached_property

from deployments.models import Release, Replica, Target
from deployments.providers.base import Progress, Provider, Secret, TargetSpec, provider_for
from deployments.runtimes.base import ReplicaSpec, Runtime, runtime_for
from deployments.runtimes.workload import WorkloadRuntime
from deployments.services import target_spec
from deployments.workloads import revision_of, workload_of
from worker.handlers import OperationHandler


class TargetOperation(OperationHandler):
    """An operation whose input names a target."""

    @cached_property
    def target(self) -> Target:
        return Target.objects.select_related("project", "release", "account").get(pk=self.input["target"])

    @cached_property
    def provider(self) -> Provider:
        return provider_for(self.target.provider)

    @cached_property
    def runtime(self) -> Runtime | WorkloadRuntime:
        return runtime_for(self.provider.runtime)

    @property
    def spec(self) -> TargetSpec:
        """The target as its provider is told of it."""
        return target_spec(self.target)

    def update_target(self, **values) -> None:
        """Write fields of the target's row, and of the copy at hand; inside `self.atomic()`."""
        for name, value in values.items():
            setattr(self.target, name, value)
        self.target.save(update_fields=[*values, "updated_at"])

    def secrets(self) -> Secret:
        """What a replica is given: the provider's values as they are valid now, and the target's own key."""
        known = dict(self.target.secrets) | dict(self.provider.prepare(self.spec).values)
        given = {name: known[name] for name in ("database_url", "jwt_secret")}
        if known.get("jwt_secret_previous"):
            given["jwt_secret_previous"] = known["jwt_secret_previous"]
        return Secret(given)

    @cached_property
    def is_cluster(self) -> bool:
        """Whether the target's platform keeps the replicas itself."""
        return isinstance(self.runtime, WorkloadRuntime)

    def replica_spec(self, replica: Replica) -> ReplicaSpec:
        """What the runtime is told of a replica."""
        return self._runtime_spec(replica.pk, replica.release, replica.host, replica.port)

    def migration_spec(self, release: Release) -> ReplicaSpec:
        """A release on this target without a replica, for the runtime's `migrate`."""
        return self._runtime_spec("", release, "", 0)

    def _runtime_spec(self, replica_id: str, release: Release, host: str, port: int) -> ReplicaSpec:
        return ReplicaSpec(
            replica_id=replica_id,
            target_id=self.target.pk,
            target_name=self.target.name,
            region=self.target.region,
            provider=self.target.provider,
            release=release.pk,
            image=release.image,
            config=release.config,
            secrets=self.secrets(),
            host=host,
            port=port,
        )

    def run_migration(self, release: Release) -> Progress:
        """Bring the target's database to what a release needs; called again while it answers `pending`."""
        if self.is_cluster:
            workload = workload_of(self.target, (revision_of(release, replicas=0),))
            return self.runtime.migrate(workload, release.pk)
        return self.runtime.migrate(self.migration_spec(release))

    def redact(self, text: str) -> str:
        """The text without any secret of the target."""
        for value in self.target.secrets.values():
            if value:
                text = text.replace(value, "***")
        return text
