"""Whether the kubectl that is installed can build our kustomizations."""

import json
import shutil
import subprocess

import pytest

# Older ones carry a kustomize that knows no components.
MINOR_LEAST = 21


def need_kustomize() -> None:
    """Skip the test where kubectl is missing or too old."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, which builds the kustomization")
    told = subprocess.run(
        ["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, check=True
    )
    minor = int(json.loads(told.stdout)["clientVersion"]["minor"].rstrip("+"))
    if minor < MINOR_LEAST:
        pytest.skip(f"kubectl 1.{minor} carries a kustomize that knows no components")
