"""checkov's Kubernetes policies over all that we would apply; each finding that stays is justified."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.shapes import SPECS, two, workload
from tests.kubernetes.test_manifests import objects
from tests.sdk.environments import python_of

pytestmark = pytest.mark.sdk
JUSTIFIED = Path(__file__).resolve().parent.parent / "kubernetes" / "checkov.toml"
# A job's name ends with what it is for.
HASH = re.compile(r"-[0-9a-f]{10}$")


@pytest.fixture(scope="module")
def python():
    try:
        return python_of("checkov")
    except RuntimeError as error:
        pytest.skip(f"checkov cannot be installed here: {str(error).strip().splitlines()[-1]}")


def test_every_finding_is_justified(python, tmp_path):
    for name in SPECS:
        written = {one.key: dict(one.redacted) for one in objects(workload(name, *two()))}
        path = tmp_path / f"{name.replace(' ', '-')}.yaml"
        path.write_text("---\n".join(yaml.safe_dump(one) for one in written.values()))
    done = subprocess.run(
        [
            *(python, python.parent / "checkov", "--directory", tmp_path, "--framework", "kubernetes"),
            *("--skip-download", "--quiet", "--compact", "--output", "json"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 1000, done.stderr
    assert report["summary"]["parsing_errors"] == 0
    found: dict[str, set[str]] = {}
    for one in report["results"]["failed_checks"]:
        kind, _, name = one["resource"].split(".", 2)
        found.setdefault(one["check_id"], set()).add(f"{kind}/{HASH.sub('', name)}")
    justified = tomllib.loads(JUSTIFIED.read_text())
    assert all(len(one["reason"].split()) > 20 for one in justified.values())
    assert found == {check: set(one["resources"]) for check, one in justified.items()}
