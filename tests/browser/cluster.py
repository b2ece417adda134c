"""A target in a cluster for a running installation, made past the operations, so that it is there at once.

`python -m tests.browser.cluster KUBECONFIG NAME` acts on the installation that AINDUS_DATA_DIR names.
"""

import os
import sys
from pathlib import Path


def main(kubeconfig: str, name: str) -> None:
    from controlplane.models import Project
    from deployments.accounts import account_create
    from deployments.models import Release
    from tests.deployments import in_cluster

    project = Project.objects.get()
    account = account_create(
        project=project,
        name=f"{name}-account",
        provider="kubernetes",
        credentials={"kubeconfig": Path(kubeconfig).read_text()},
        created_by="user:ada",
    )
    release = Release.objects.filter(project=project).order_by("number").first()
    release = release or in_cluster.make_release(project)
    spec = {"replicas": 3, "namespace": "aindusdb"}
    in_cluster.apply(in_cluster.make_target(account, release, name, spec=spec))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    import django

    django.setup()
    main(*sys.argv[1:])
