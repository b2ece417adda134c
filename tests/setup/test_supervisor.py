"""`manage.py up` with real processes. One installation lives through the file, in the order of the tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from controlplane.supervisor.child import backoff_seconds
from tests.setup.installation import ROOT, Installation, free_port, processes_of, wait_for


@pytest.fixture(scope="module")
def running():
    """An installation that was started once."""
    installation = Installation()
    installation.first_output = installation.start()
    yield installation
    installation.close()


@pytest.fixture
def installation():
    installation = Installation()
    yield installation
    installation.close()


def test_a_first_start_tells_the_address_and_the_password(running):
    text = running.first_output
    assert running.url in text
    assert "Sign in as admin with the password " in text
    assert str(running.data) in text
    with urllib.request.urlopen(f"{running.url}/ready") as answer:
        assert json.load(answer)["status"] == "ready"
        assert answer.headers["X-Request-Id"]
    password = text.partition("with the password ")[2].split()[0]
    logs = "".join(path.read_text() for path in (running.data / "logs").iterdir())
    assert password not in logs


def test_what_the_children_say_is_prefixed_and_kept(running):
    wait_for(lambda: running.lines(r"worker   \| .*ready\."), 20, "the worker is ready")
    assert "ready." in (running.data / "logs" / "worker.log").read_text()
    assert "ready to accept connections" in (running.data / "logs" / "postgres.log").read_text()


def test_a_second_start_is_refused_with_the_address(running):
    done = running.manage("up", "--port", str(free_port()))
    assert done.returncode == 1
    assert "runs already" in done.stderr
    assert running.url in done.stderr
    assert "Traceback" not in done.stderr


def test_an_index_of_the_installations_own_collection_is_built(running):
    key = running.manage("create_api_key", "jobs", "--role", "admin").stdout.strip()

    def call(path, body=None):
        request = urllib.request.Request(
            f"{running.url}/api/v1/vectors/collections{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    call("", {"name": "own", "dimension": 2})
    call("/own/points", {"points": [{"id": str(n), "vector": [n, 1]} for n in range(50)]})
    call("/own/index", {})
    wait_for(lambda: call("/own/index")["state"] == "ready", 30, "the index is built")


def test_the_doctor_finds_all_parts_well(running):
    wait_for(
        lambda: running.manage("doctor").returncode == 0, 20, "the doctor finds beat's first sign of life"
    )
    done = running.manage("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert {"PostgreSQL", "Redis", "pgvector", "worker", "beat", "web", "operations"} <= set(found)
    assert {finding["level"] for finding in found.values()} <= {"ok", "warning"}


def test_a_key_is_printed_alone(running):
    done = running.manage("create_api_key", "ci", "--role", "operator")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ak_")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("name", ["postgres", "redis", "web", "worker", "beat", "jobs"])
def test_a_killed_child_is_started_again_alone(running, name):
    everyone = ("postgres", "redis", "web", "worker", "beat", "jobs")
    wait_for(lambda: all(running.child(other) for other in everyone), 15, "all children run")
    others = {other: running.child(other) for other in everyone}
    killed = others.pop(name)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: running.child(name) not in (0, killed), 15, f"{name} runs again")
    wait_for(lambda: running.lines(rf"{name} was killed by SIGKILL; starting it again in"), 5, "reported")

    def works():
        try:
            with urllib.request.urlopen(f"{running.url}/ready", timeout=3) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_for(works, 20, "the web role is ready")
    assert {other: running.child(other) for other in others} == others


def test_sigterm_leaves_nothing(running):
    assert running.stop() == 0
    assert processes_of(running.data) == {}
    assert list((running.data / "run").iterdir()) == []
    assert not (running.data / "postgres" / "postmaster.pid").exists()
    assert "Stopped." in running.output.read_text()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", running.port))


def test_a_later_start_continues_and_tells_no_password(running):
    text = running.start()
    assert "password" not in text
    assert "ready" in text


def test_a_start_after_sigkill_recovers(running):
    running.process.kill()
    running.process.wait()
    text = running.start()
    assert running.url in text
    done = running.manage("create_api_key", "ci", "--role", "operator")
    assert "in use" in done.stderr, "the data is still there"


def test_ctrl_c_twice_ends_everything_at_once(running):
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGINT)
    running.process.wait(timeout=15)
    wait_for(lambda: processes_of(running.data) == {}, 5, "no process is left")


def test_detach_returns_when_ready_and_down_stops_it(running):
    done = running.manage("up", "--detach", "--port", str(running.port))
    assert done.returncode == 0, done.stderr
    assert running.url in done.stdout
    with urllib.request.urlopen(f"{running.url}/health") as answer:
        assert answer.status == 200
    assert running.manage("down").returncode == 0
    wait_for(lambda: processes_of(running.data) == {}, 2, "the supervisor's own process is gone")
    assert "Nothing runs" in running.manage("down").stdout


def refused(installation, *arguments) -> str:
    """The message of a start that must fail: exit status 1, no traceback, nothing left running."""
    done = installation.manage("up", "--port", str(installation.port), *arguments)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert processes_of(installation.data) == {}
    return done.stderr


def test_a_taken_port_is_told(installation):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", installation.port))
        taken.listen()
        assert f"Port {installation.port} of 127.0.0.1 is taken" in refused(installation)
        assert "taken" in refused(installation, "--detach")


def test_a_wrong_host_is_told(installation):
    assert "not an address of this machine" in refused(installation, "--host", "192.0.2.1")


def test_a_data_directory_that_is_a_file_is_told(installation):
    installation.data.write_text("")
    assert "AINDUS_DATA_DIR" in refused(installation)


def test_data_of_a_newer_postgresql_is_told(installation):
    (installation.data / "postgres").mkdir(parents=True)
    (installation.data / "postgres" / "PG_VERSION").write_text("99\n")
    assert "made by PostgreSQL 99" in refused(installation)


def test_a_bad_setting_is_told(installation):
    installation.environment["AINDUS_WORKER_CONCURRENCY"] = "many"
    assert "AINDUS_WORKER_CONCURRENCY" in refused(installation)


def test_a_data_directory_without_right_to_write_is_told(installation):
    installation.data.mkdir()
    installation.data.chmod(0o555)
    command = [sys.executable, ROOT / "manage.py", "up"]
    arguments = {}
    if os.geteuid() == 0:
        # Root may write anywhere: as nobody, whom the interpreter's own folder may be closed to.
        try:
            subprocess.run([sys.executable, "-c", ""], user=65534, group=65534, cwd="/", check=True)
        except (PermissionError, subprocess.CalledProcessError):
            pytest.skip("this interpreter is closed to other accounts")
        arguments = {"user": 65534, "group": 65534, "extra_groups": []}
    done = subprocess.run(
        command,
        env=installation.environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        **arguments,
    )
    assert done.returncode == 1
    assert "writable" in done.stderr or "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_backoff_doubles_up_to_half_a_minute():
    assert [backoff_seconds(crashes) for crashes in (1, 2, 3, 7, 8, 50)] == [0.5, 1, 2, 30, 30, 30]
