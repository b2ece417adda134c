"""Who does a target's backup tasks, and where a backup lies."""

from django.conf import settings

from controlplane.errors import ForbiddenError, InvalidError
from deployments.errors import Invalid
from deployments.models import Target
from deployments.providers.base import provider_for
from deployments.runtimes.base import runtime_for
from deployments.runtimes.tasks import TaskRunner

SCHEMES = ("s3://", "gs://", "az://")


class PlaceNotAllowedError(ForbiddenError):
    """Backups may not be kept at this URL."""

    code = "place_not_allowed"


def task_runner(target: Target) -> TaskRunner:
    """What runs work beside the target's database; Invalid when its runtime has none."""
    runtime = runtime_for(provider_for(target.provider).runtime)
    make = getattr(runtime, "tasks", None)
    if make is None:
        raise Invalid(
            f"The runtime of {target.name} runs no tasks beside its database, so it cannot be backed up."
        )
    return make()


def url_checked(url: str) -> str:
    """A folder of a store that backups may be kept in, with a slash at its end; empty stays empty."""
    if not url:
        return ""
    if not url.startswith(SCHEMES) or any(part in (".", "..") for part in url.split("/")) or "?" in url:
        raise InvalidError(f"A place of backups starts with {', '.join(SCHEMES)}.", field="url")
    url = url if url.endswith("/") else f"{url}/"
    for entry in settings.BACKUP_URLS:
        if url.startswith(entry if entry.endswith("/") else f"{entry}/"):
            return url
    raise PlaceNotAllowedError(
        "Backups may not be kept at this URL: the control plane's operator allows what URLs start with in"
        " AINDUS_BACKUP_URLS.",
        field="url",
    )


def place_of(target: Target, backup_id: str, url: str = "") -> str:
    """Where a backup lies: below a folder of a store, or where the target's tasks run."""
    folder = url or f"{task_runner(target).home.rstrip('/')}/"
    return f"{folder}{target.pk}/{backup_id}.dump"
