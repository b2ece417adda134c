"""Objects that the tests of the simulated cluster make, and how they look at refusals."""

import json

import pytest
from kubernetes.client.exceptions import ApiException

NAMESPACE = "default"


def deployment(name, image="registry.example/api:1", replicas=1, **template):
    labels = {"app": name}
    spec = {"containers": [{"name": "api", "image": image, "ports": [{"containerPort": 8000}]}], **template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def config_map(name, **data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": data,
    }


def refused(call, *arguments, **options):
    with pytest.raises(ApiException) as error:
        call(*arguments, **options)
    return error.value.status, json.loads(error.value.body)


def owner_of_field(document, *path):
    found = set()
    for entry in document["metadata"]["managedFields"]:
        node = entry["fieldsV1"]
        for part in path:
            node = node.get(part) if node is not None else None
        if node is not None:
            found.add((entry["manager"], entry["operation"]))
    return found
