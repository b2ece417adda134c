"""What the deployments app adds to an empty installation."""

from deployments.services import target_create


def create_local_target(*, project) -> None:
    """A target on this machine, so that the first thing to be seen works."""
    target_create(
        project=project,
        name="local",
        provider="local",
        region="local",
        spec={"replicas": 2},
        created_by="system",
    )
