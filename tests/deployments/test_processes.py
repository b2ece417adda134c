"""The runtime `processes`, with real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controlplane import ids
from deployments.errors import Conflict
from deployments.providers.base import Secret
from deployments.runtimes.base import ReplicaSpec
from deployments.runtimes.processes import ProcessRuntime, stop_all
from deployments.runtimes.processes import signals as process_signals
from deployments.runtimes.processes.folder import ReplicaFolder
from tests.deployments.conftest import replica_processes, wait_until

SECRETS = {"database_url": "postgresql://role:s3cretpassword@/db", "jwt_secret": "jwt-s3cret-value"}


@pytest.fixture
def runtime(settings, tmp_path, stand_in_command):
    settings.DATA_DIR = tmp_path
    settings.API_COMMAND = stand_in_command
    yield ProcessRuntime()
    stop_all(tmp_path, grace_seconds=1)
    assert replica_processes(tmp_path) == []


def spec(runtime, mode="", **values):
    host, port = runtime.place(frozenset())
    given = {
        "replica_id": ids.new("rep"),
        "target_id": ids.new("tgt"),
        "target_name": "one",
        "region": "local",
        "provider": "local",
        "release": ids.new("rel"),
        "image": "aindusdb/api:0",
        "config": {"env": {"STAND_IN": mode}, "threads": 3},
        "secrets": Secret(SECRETS),
        "host": host,
        "port": port,
    }
    return ReplicaSpec(**given | values)


def reach(runtime, replica_id, state):
    wait_until(lambda: runtime.state(replica_id).state == state)
    return runtime.state(replica_id)


def environment(pid):
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_absent(runtime):
    replica_id = ids.new("rep")
    assert runtime.state(replica_id).state == "absent"
    assert runtime.stop(replica_id, grace_seconds=1).state == "absent"
    runtime.remove(replica_id)
    assert list(runtime.logs(replica_id)) == []
    assert runtime.known() == []


def test_an_id_cannot_leave_the_data_directory(runtime):
    with pytest.raises(ValueError, match="not a replica's id"):
        runtime.state("../../etc")


def test_start_twice_is_one_replica(runtime, tmp_path):
    one = spec(runtime)
    assert runtime.start(one).state == "starting"
    runtime.start(one)
    state = reach(runtime, one.replica_id, "running")
    assert runtime.start(one) == state
    assert state.port == one.port
    assert len(replica_processes(tmp_path)) == 2, "the launcher and the process"
    assert runtime.known() == [one.replica_id]


def test_starts_at_the_same_moment_are_one_replica(runtime, tmp_path):
    one = spec(runtime)
    threads = [threading.Thread(target=runtime.start, args=(one,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reach(runtime, one.replica_id, "running")
    assert len(replica_processes(tmp_path)) == 2


def test_the_process_is_nobodys_child_and_knows_what_it_must(runtime, monkeypatch):
    # What the machine's operator opens to imports, and nothing else of the worker's environment.
    monkeypatch.setenv("AINDUS_TRANSFER_PATHS", "/srv/import")
    monkeypatch.setenv("AINDUS_UPLOAD_BYTES", "1")
    one = spec(runtime)
    runtime.start(one)
    pid = reach(runtime, one.replica_id, "running").handle["pid"]
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert os.getsid(pid) != os.getsid(0)
    launcher = int(stat[1])
    launcher_stat = Path(f"/proc/{launcher}/stat").read_text().rpartition(")")[2].split()
    assert int(launcher_stat[1]) != os.getpid()
    found = environment(pid)
    assert found["AINDUS_ROLE"] == "api"
    assert (found["CLUSTER_REGION"], found["CLOUD_PROVIDER"]) == ("local", "local")
    assert found["AINDUS_API_THREADS"] == "3"
    assert found["AINDUS_TRANSFER_PATHS"] == "/srv/import"
    assert "AINDUS_UPLOAD_BYTES" not in found
    assert "DJANGO_SETTINGS_MODULE" not in found
    for value in SECRETS.values():
        assert value not in "".join(found.values())
        assert value not in Path(f"/proc/{pid}/cmdline").read_text()
    for variable, name in (("DATABASE_URL_FILE", "database_url"), ("JWT_SECRET_KEY_FILE", "jwt_secret")):
        path = Path(found[variable])
        assert path.read_text() == SECRETS[name]
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0


def zombies() -> set[str]:
    """The pids of this process's children that ended and were not waited for."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if (state, int(parent)) == ("Z", os.getpid()):
                    found.add(entry.name)
    return found


def test_no_zombies(runtime):
    before = zombies()
    one = spec(runtime, "exit")
    runtime.start(one)
    reach(runtime, one.replica_id, "exited")
    assert zombies() <= before


def test_reason_of_a_failed_start(runtime):
    one = spec(runtime, "exit")
    runtime.start(one)
    state = reach(runtime, one.replica_id, "exited")
    assert state.exit_code == 1
    assert state.reason.startswith("The process ended with exit code 1: ")
    assert state.reason.endswith("cannot start: the setting FOO is missing")
    assert [line.level for line in runtime.logs(one.replica_id)] == ["ERROR"]


def test_port_that_is_taken(runtime):
    with socket.create_server(("127.0.0.1", 0)) as other:
        one = spec(runtime, port=other.getsockname()[1])
        runtime.start(one)
        state = reach(runtime, one.replica_id, "exited")
    assert state.exit_code == 76
    assert "took its port" in state.reason


def test_place_skips_ports_in_use(runtime, settings):
    first, second, third = 0, 0, 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        first = other.getsockname()[1]
        second, third = first + 1, first + 2
        settings.REPLICA_PORTS = range(first, third + 1)
        host, port = runtime.place(frozenset({second}))
        assert (host, port) == ("127.0.0.1", third)
        settings.REPLICA_PORTS = range(first, first + 1)
        with pytest.raises(Conflict, match="No port is free"):
            runtime.place(frozenset())


def test_killed(runtime):
    one = spec(runtime)
    runtime.start(one)
    os.kill(reach(runtime, one.replica_id, "running").handle["pid"], signal.SIGKILL)
    state = reach(runtime, one.replica_id, "exited")
    assert state.exit_code == 137
    assert state.reason == "The process was killed by SIGKILL (exit code 137)."


def test_launcher_killed(runtime, tmp_path):
    """The replica goes on without its launcher, is still known, and can be stopped."""
    one = spec(runtime)
    runtime.start(one)
    pid = reach(runtime, one.replica_id, "running").handle["pid"]
    launcher = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(launcher, signal.SIGKILL)
    wait_until(lambda: launcher not in replica_processes(tmp_path))
    assert runtime.state(one.replica_id).state == "running"
    assert runtime.start(one).handle["pid"] == pid
    assert runtime.stop(one.replica_id, grace_seconds=2).state == "stopped"
    assert replica_processes(tmp_path) == []


def test_stop(runtime, tmp_path):
    one = spec(runtime)
    runtime.start(one)
    reach(runtime, one.replica_id, "running")
    state = runtime.stop(one.replica_id, grace_seconds=5, reason="because")
    assert (state.state, state.reason, state.exit_code) == ("stopped", "because", 0)
    assert replica_processes(tmp_path) == []
    assert runtime.stop(one.replica_id, grace_seconds=5).state == "stopped"
    folder = ReplicaFolder(tmp_path, one.replica_id)
    assert not (folder.path / "database_url").exists()
    assert not (folder.path / "jwt_secret").exists()
    assert list(runtime.logs(one.replica_id)), "its log can still be read"
    runtime.remove(one.replica_id)
    assert not folder.exists()
    assert runtime.state(one.replica_id).state == "absent"


def test_stop_while_starting(runtime, tmp_path):
    one = spec(runtime, "slow")
    runtime.start(one)
    assert runtime.stop(one.replica_id, grace_seconds=5).state in ("stopped", "absent")
    assert replica_processes(tmp_path) == []


def test_stubborn_replica_is_killed_with_its_children(runtime, tmp_path):
    one = spec(runtime, "stubborn")
    runtime.start(one)
    reach(runtime, one.replica_id, "running")
    state = runtime.stop(one.replica_id, grace_seconds=0.3)
    assert state.state == "stopped"
    assert replica_processes(tmp_path) == []


def test_start_again_after_a_stop(runtime):
    one = spec(runtime)
    runtime.start(one)
    reach(runtime, one.replica_id, "running")
    runtime.stop(one.replica_id, grace_seconds=5)
    runtime.start(one)
    assert reach(runtime, one.replica_id, "running").port == one.port


def test_a_reused_pid_is_never_signalled(runtime, tmp_path):
    """A dead replica's pid that a stranger was given since: its folder names it, and it must live on."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        folder = ReplicaFolder(tmp_path, ids.new("rep"))
        folder.make()
        (folder.path / "launched").touch()
        record = '{"pid": %d, "start_ticks": "%s", "port": 1}'
        (folder.path / "replica.json").write_text(record % (stranger.pid, "1"))
        assert runtime.state(folder.replica_id).state == "exited"
        runtime.stop(folder.replica_id, grace_seconds=0)
        assert not process_signals.send(stranger.pid, folder.path, signal.SIGKILL)
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_stop_all(runtime, tmp_path):
    several = [spec(runtime, "stubborn" if n == 0 else "") for n in range(3)]
    for number, one in enumerate(several):
        port = runtime.place(frozenset(s.port for s in several[:number]))[1]
        several[number] = spec(runtime, replica_id=one.replica_id, config=one.config, port=port)
        runtime.start(several[number])
    for one in several:
        reach(runtime, one.replica_id, "running")
    assert stop_all(tmp_path, grace_seconds=0.5) == 3
    assert replica_processes(tmp_path) == []
    assert stop_all(tmp_path) == 0
    assert runtime.state(several[0].replica_id).reason == "stopped with the control plane"


def test_validate_refuses_another_image(runtime, settings):
    assert runtime.validate(settings.API_IMAGE, {}) == []
    (problem,) = runtime.validate("ghcr.io/other/api:1", {})
    assert problem.field == "image"
    assert settings.API_IMAGE in problem.remedy


def test_secrets_show_nowhere(runtime):
    one = spec(runtime)
    assert "s3cret" not in repr(one)
    runtime.start(one)
    assert "s3cret" not in repr(reach(runtime, one.replica_id, "running"))
