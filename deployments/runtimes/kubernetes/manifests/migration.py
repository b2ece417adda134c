"""The job that brings the database to a release's schema, before any pod of it starts."""

from deployments.runtimes.kubernetes.manifests.api import container, pod_spec
from deployments.runtimes.kubernetes.manifests.place import RELEASE_LABEL, Place, short_hash
from deployments.runtimes.kubernetes.manifests.security import MIGRATION
from deployments.runtimes.workload import Revision

SECONDS = 600


def migration_name(place: Place, revision: Revision) -> str:
    """The same for the same release on the same database."""
    database = place.checksum("database_url")
    return f"{MIGRATION}-{short_hash([revision.release, revision.image, database])}"


def migration_job(place: Place, revision: Revision) -> dict:
    """One pod of role `api` that migrates; started again twice at most."""
    release = {RELEASE_LABEL: revision.release}
    only = container(place, revision, "migrate", ["migrate", "--no-color"])
    only["resources"] = {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    pod = pod_spec(place, only, restartPolicy="Never")
    return place.document(
        "Job",
        migration_name(place, revision),
        component=MIGRATION,
        labels=release,
        spec={
            "backoffLimit": 2,
            "activeDeadlineSeconds": SECONDS,
            "ttlSecondsAfterFinished": 86_400,
            "template": {
                "metadata": {"labels": place.labels(MIGRATION, **release)},
                "spec": pod,
            },
        },
    )
