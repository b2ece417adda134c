"""Both planes as real processes: a replica of the vector API, and a control plane whose target it is."""

import contextlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from tests.vectors.conftest import JWT_KEY, ROOT, server_url
from tests.vectors.test_process import die_with_tests, free_port, until

TARGET = "alpha"
# Run by the control plane's own interpreter and settings: what a provisioned target looks like.
SEED = """
import sys
import django
django.setup()
from controlplane.models import Project
from controlplane.services import api_key_create
from deployments.models import Release, Replica, ReplicaStatus, Target, TargetStatus
port, jwt_key, name = sys.argv[1:]
project = Project.objects.create(name="default")
release = Release.objects.create(
    project=project, number=1, image="aindusdb/api:0.1", config={}, digest="0" * 64, created_by="test"
)
target = Target.objects.create(
    project=project, name=name, provider="local", region="here", spec={"replicas": 1}, release=release,
    status=TargetStatus.READY, secrets={"jwt_secret": jwt_key}, created_by="test",
)
Replica.objects.create(target=target, release=release, status=ReplicaStatus.READY, port=int(port))
for role in ("viewer", "operator", "admin"):
    print(role, api_key_create(project=project, name=role, role=role, created_by="test")[1])
"""


class ControlPlane:
    """The web role on a database of its own, with one target; `keys` are API keys by role."""

    def __init__(self, replica_port: int, folder: Path):
        self.folder = folder
        self.name = f"planes_test_{uuid.uuid4().hex[:12]}"
        self.server = make_conninfo(server_url(), dbname="postgres")
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {self.name}")
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("JWT_", "DATABASE_"))
        } | {
            "DATABASE_URL": make_conninfo(server_url(), dbname=self.name),
            "DJANGO_SETTINGS_MODULE": "controlplane.settings",
            "AINDUS_ROLE": "web",
        }
        self.process = None
        self.port = free_port()
        self.log = folder / f"web-{self.port}.log"
        try:
            self.run("manage.py", "migrate", "-v0")
            seeded = self.run("-c", SEED, str(replica_port), JWT_KEY, TARGET)
            self.keys = dict(line.split() for line in seeded.splitlines())
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str) -> str:
        """What a Python of the control plane's prints; AssertionError when it fails."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start the web server and wait until it answers."""
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "controlplane.asgi:application"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_tests,
            )
        until(lambda: self.answers() or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.log.read_text()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        """End the server and drop the database."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=10)
            self.process.kill()
            self.process.wait()
        with psycopg.connect(self.server, autocommit=True) as db:
            db.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
