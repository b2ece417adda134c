"""What the server says it serves: /version, /api, /apis, each group, and the aggregated form of both."""

from tests.simulators.kubernetes import errors
from tests.simulators.kubernetes.resources import REVIEWS, Resource, Resources

_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_SUBRESOURCE_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "log": ["get"],
    "eviction": ["create"],
    "token": ["create"],
    "proxy": ["create", "delete", "get", "patch", "update"],
}


def version(minor: str) -> dict:
    major, number = minor.split(".")
    return {
        "major": major,
        "minor": number,
        "emulationMajor": major,
        "emulationMinor": number,
        "gitVersion": f"v{minor}.0",
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2025-01-01T00:00:00Z",
        "goVersion": "go1.24.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def legacy_versions(address: str) -> dict:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(resources: Resources) -> dict:
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [group(resources, g) for g in resources.groups()],
    }


def group(resources: Resources, name: str, *, alone: bool = False) -> dict:
    versions = resources.groups().get(name)
    if not versions:
        raise errors.no_such_path()
    told = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    kind = {"kind": "APIGroup", "apiVersion": "v1"} if alone else {}
    return {**kind, "name": name, "versions": told, "preferredVersion": told[0]}


def listing(resources: Resources, group: str, version: str) -> dict:
    served = resources.served(group, version)
    if not served:
        raise errors.no_such_path()
    found = []
    for resource in served:
        entry = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.group not in REVIEWS:
            entry["storageVersionHash"] = "AAAAAAAAAAA="
        found.append(entry)
        for subresource in resource.subresources:
            kind = _SUBRESOURCE_KINDS.get(subresource)
            found.append(
                {
                    "name": f"{resource.plural}/{subresource}",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    **({"group": kind[0], "version": kind[1]} if kind else {}),
                    "kind": kind[2] if kind else resource.kind,
                    "verbs": _SUBRESOURCE_VERBS.get(subresource, ["create", "get"]),
                }
            )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": found,
    }


def aggregated(resources: Resources, form: str, *, legacy: bool) -> dict:
    """APIGroupDiscoveryList of apidiscovery.k8s.io/v2, or of v2beta1 for older clients."""
    found = {"": ["v1"]} if legacy else resources.groups()
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{form}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name, "creationTimestamp": None}
                if name
                else {"creationTimestamp": None},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Current",
                        "resources": [_aggregated(r) for r in resources.served(name, version)],
                    }
                    for version in versions
                ],
            }
            for name, versions in found.items()
        ],
    }


def _aggregated(resource: Resource) -> dict:
    return {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
        **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
        **({"categories": list(resource.categories)} if resource.categories else {}),
        **(
            {
                "subresources": [
                    {
                        "subresource": name,
                        "responseKind": dict(
                            zip(
                                ("group", "version", "kind"),
                                _SUBRESOURCE_KINDS.get(
                                    name, (resource.group, resource.version, resource.kind)
                                ),
                                strict=True,
                            )
                        ),
                        "verbs": _SUBRESOURCE_VERBS.get(name, ["create", "get"]),
                    }
                    for name in resource.subresources
                ]
            }
            if resource.subresources
            else {}
        ),
    }
