"""The roles as a container runs them: by `manage.py ROLE`, with mounted secrets, probes and SIGTERM."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.db import connection

from controlplane import probe_server
from controlplane.models import Project, User

pytestmark = pytest.mark.django_db(transaction=True)
MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def ask(port: int, path: str) -> tuple[int, str]:
    """(status, body); status 0 while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_for(condition, what: str, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def run(*arguments: str, environment: dict) -> subprocess.CompletedProcess:
    return subprocess.run([*MANAGE, *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture
def environment(tmp_path):
    """What a container gives: secrets as files, a folder to write, and nothing else of ours."""
    parts = urlsplit(settings.DATABASE_URL)
    url = urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))
    values = {
        "DATABASE_URL": url,
        "REDIS_URL": settings.REDIS_URL,
        "AINDUS_SECRET_KEY": "k" * 50,
        "AINDUS_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    }
    found = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    for name, value in values.items():
        (tmp_path / name).write_text(value)
        found[f"{name}_FILE"] = str(tmp_path / name)
    return found | {"AINDUS_DATA_DIR": str(tmp_path / "data"), "AINDUS_WORKER_CONCURRENCY": "1"}


def test_each_role_starts_answers_probes_and_stops(environment, tmp_path):
    made = run("prepare", environment=environment)
    assert made.returncode == 0, made.stderr
    assert "Sign in as admin with the password " in made.stdout and "Prepared." in made.stdout
    assert User.objects.get().username == "admin" and Project.objects.get().name == "default"
    probes = {role: free_port() for role in ("web", "worker", "beat")}
    port = free_port()
    arguments = {"web": ["--port", str(port)], "worker": [], "beat": []}
    running = {}
    try:
        for role, probe in probes.items():
            with (tmp_path / f"{role}.log").open("wb") as log:
                running[role] = subprocess.Popen(
                    [*MANAGE, role, *arguments[role]],
                    env=environment | {"AINDUS_PROBE_PORT": str(probe)},
                    stdout=log,
                    stderr=subprocess.PIPE,
                )
        waiting = run("prepare", "--wait", environment=environment)
        assert (waiting.returncode, waiting.stdout) == (0, ""), waiting.stderr
        for role, probe in probes.items():
            wait_for(lambda probe=probe: ask(probe, "/health")[0] == 200, f"{role} does not answer")
            status, body = ask(probe, "/ready")
            assert status == 200 and json.loads(body)["checks"] == {"database": "ok", "redis": "ok"}, role
            assert ask(probe, "/metrics")[0] == 200 and ask(probe, "/api/v1/targets")[0] == 404
        wait_for(lambda: ask(port, "/ready")[0] == 200, "web is not ready")
        # What it exports is asked where no proxy comes by, from any address.
        counted = 'aindusdb_http_requests_total{method="GET",route="ready",status="200"}'
        assert counted in ask(probes["web"], "/metrics")[1]
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for role, process in running.items():
            assert process.wait(30) == 0, (role, (tmp_path / f"{role}.log").read_text())
            assert process.stderr.read() == b"", f"{role} does not log to standard output alone"
        assert "probes and metrics on port" in (tmp_path / "worker.log").read_text()
    finally:
        for process in running.values():
            process.kill()
            process.wait()
            process.stderr.close()


def test_what_is_not_there_is_told(environment, tmp_path):
    (tmp_path / "DATABASE_URL").write_text(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    made = run("prepare", "--seconds", "0", environment=environment)
    assert made.returncode == 1 and "Not prepared after 0 s: " in made.stderr and "refused" in made.stderr


def test_a_role_that_does_nothing_is_not_healthy(settings):
    pulse, port = probe_server.Pulse(), free_port()
    stop = probe_server.serve(pulse, host="127.0.0.1", port=port)
    try:
        assert ask(port, "/health") == (200, '{"status": "ok"}')
        pulse.beat()
        assert ask(port, "/health")[0] == 200
        pulse.at -= probe_server.SILENT_SECONDS + 1
        status, body = ask(port, "/health")
        assert status == 503 and "nothing was done for 31 s" in body
        # While Redis is away it waits, and a restart would not help.
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        assert ask(port, "/health")[0] == 200
        status, body = ask(port, "/ready")
        assert status == 503 and "does not answer" in json.loads(body)["checks"]["redis"]
    finally:
        stop()
    assert probe_server.serve(pulse, port=0) is None
