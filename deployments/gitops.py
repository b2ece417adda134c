"""A target's objects for a Git repository: a kustomize directory, and an Argo CD Application of it.

The objects are those that the control plane itself would apply, unchanged. Secrets are left out: what
must be there is told, and External Secrets are prepared for it.
"""

import io
import zipfile
from dataclasses import dataclass

from controlplane.errors import ConflictError, InvalidError
from deployments.manifest_yaml import as_yaml
from deployments.models import Target
from deployments.runtimes.kubernetes.manifests import whole
from deployments.runtimes.workload import Manifest
from deployments.services import provider_errors
from deployments.workloads import rendered_objects, workload_of, workload_runtime

KUSTOMIZE, ARGOCD = "kustomize", "argocd"
FORMATS = (KUSTOMIZE, ARGOCD)
HEADER = "# Written by the AindusDB control plane; the next export replaces it.\n"
# A ZIP archive's earliest time: the same export, the same bytes.
NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Repository:
    """Where the directory will lie, for Argo CD: its URL, the path in it, and branch, tag or commit."""

    url: str = "https://git.example.org/REPLACE/ME.git"
    path: str = ""
    revision: str = "HEAD"


def target_export(target: Target, format: str, repository: Repository | None = None) -> dict[str, str]:
    """{path: text} of a target in a cluster; the same target gives the same texts.

    ConflictError for a target that is in no cluster or was never provisioned, InvalidError for an unknown
    format.
    """
    if format not in FORMATS:
        raise InvalidError(f"{format!r} is not a format; use {' or '.join(FORMATS)}.", field="format")
    workload_runtime(target)
    if not target.secrets:
        raise ConflictError(
            f"{target.name} has no secrets yet, on which its objects depend: provision it first.",
            code="target_not_provisioned",
        )
    with provider_errors():
        workload = workload_of(target)
        objects = rendered_objects(target, workload)
        jobs = [whole.migration(workload, revision) for revision in workload.revisions]
    repository = repository or Repository()
    namespace = whole.place_of(workload).namespace
    secrets = [one for one in objects if one.document["kind"] == "Secret"]
    kept = [one for one in objects if one.document["kind"] != "Secret"] + jobs
    files = {f"objects/{_file_name(one)}": as_yaml(one.document) for one in kept}
    files["kustomization.yaml"] = HEADER + as_yaml(_kustomization(sorted(files), format))
    files["external-secrets.yaml"] = HEADER + "---\n".join(
        as_yaml(_external_secret(target, one)) for one in secrets
    )
    if format == ARGOCD:
        path = repository.path or target.name
        files["application.yaml"] = HEADER + as_yaml(
            _application(target, repository, path, workload.access.server, namespace)
        )
    files["README.md"] = _readme(target, secrets, namespace, format)
    return dict(sorted(files.items()))


def as_zip(files: dict[str, str], folder: str) -> bytes:
    """The files below a folder as a ZIP archive; the same files give the same bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{path}", NO_TIME), text)
    return held.getvalue()


def _file_name(manifest: Manifest) -> str:
    document = manifest.document
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"


def _kustomization(resources: list[str], format: str) -> dict:
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    }
    if format == ARGOCD:
        # The schema comes before the pods that need it; a job cannot be changed, so each sync makes it anew.
        hook = [
            ("argocd.argoproj.io/hook", "PreSync"),
            ("argocd.argoproj.io/hook-delete-policy", "BeforeHookCreation"),
        ]
        patch = [{"op": "add", "path": "/metadata/annotations", "value": dict(hook)}]
        document["patches"] = [{"target": {"kind": "Job"}, "patch": _inline(patch)}]
    return document


def _inline(patch: list[dict]) -> str:
    return "".join("- " + as_yaml(one).replace("\n", "\n  ").rstrip() + "\n" for one in patch)


def _external_secret(target: Target, secret: Manifest) -> dict:
    """What makes a Secret from a store of secrets: one entry of it for each, a property for each key."""
    document = secret.document
    name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": "REPLACE-ME"},
            "target": {
                "name": name,
                "creationPolicy": "Owner",
                "template": {
                    "type": document.get("type", "Opaque"),
                    "metadata": {"labels": dict(document["metadata"].get("labels", {}))},
                },
            },
            "data": [
                {"secretKey": key, "remoteRef": {"key": f"{target.name}/{name}", "property": key}}
                for key in _keys(secret)
            ],
        },
    }


def _keys(secret: Manifest) -> list[str]:
    return sorted({*secret.document.get("data", {}), *secret.document.get("stringData", {})})


def _application(target: Target, repository: Repository, path: str, server: str, namespace: str) -> dict:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        # Named as app.kubernetes.io/instance of the objects, by which Argo CD may follow them.
        "metadata": {"name": target.name, "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {
                "repoURL": repository.url,
                "targetRevision": repository.revision,
                "path": path,
            },
            "destination": {"server": server, "namespace": namespace},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["ServerSideApply=true", "PruneLast=true"],
            },
        },
    }


README = """# {name} for Git

The Kubernetes objects of the target {name} ({id}) at release {release}, as the AindusDB control plane
would apply them. The same target gives the same files: a change of release or spec is a diff.

```sh
kubectl apply --server-side --kustomize .
```
{argocd}
## Secrets

None is in these files. A target that the control plane made has them in its cluster already, and they
are left alone. Elsewhere they must be in the namespace `{namespace}` before the pods start:

| Secret | keys |
|---|---|
{secrets}

`external-secrets.yaml` makes them from a store, by the External Secrets Operator: name the store in it,
and add it to the resources of `kustomization.yaml`.

## One hand

Let either Git or the control plane change these objects. Where Git does, roll out by exporting the next
release and committing it: what both apply differently is told as a conflict of field managers.
"""
README_ARGOCD = """
`application.yaml` is the Argo CD Application. Apply it where Argo CD runs, once `repoURL` and `path` say
where this directory lies and Argo CD knows the cluster. The migration job runs before each sync.
"""


def _readme(target: Target, secrets: list[Manifest], namespace: str, format: str) -> str:
    rows = []
    for one in secrets:
        keys = ", ".join(f"`{key}`" for key in _keys(one))
        rows.append(f"| `{one.document['metadata']['name']}` | {keys} |")
    return README.format(
        name=target.name,
        id=target.pk,
        release=target.release or "none",
        argocd=README_ARGOCD if format == ARGOCD else "",
        namespace=namespace,
        secrets="\n".join(rows),
    )
