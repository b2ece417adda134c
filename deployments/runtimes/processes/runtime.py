"""Starts, watches and stops replicas as detached processes of this machine."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings

from deployments.errors import Conflict, Transient
from deployments.providers.base import FAILED, SUCCEEDED, Problem, Progress
from deployments.runtimes.base import LogLine, ReplicaSpec, ReplicaState, runtime
from deployments.runtimes.processes import logs as replica_logs
from deployments.runtimes.processes import signals
from deployments.runtimes.processes.folder import SECRET_FILES, ReplicaFolder
from deployments.runtimes.processes.tasks import ProcessTasks, TaskFolder

LAUNCHER = Path(__file__).with_name("launch.sh")
EXIT_ALREADY_RUNNING = 75
EXIT_PORT_TAKEN = 76
POLL_SECONDS = 0.02
MIGRATE_SECONDS = 14
INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
    *("AINDUS_TRANSFER_PATHS", "AINDUS_TRANSFER_URLS", "AINDUS_TRANSFER_NETWORKS"),
)


def stop_all(data_dir: Path, *, grace_seconds: float = 10.0) -> int:
    """Stop every replica below a data directory at once; how many were running."""
    running = [folder for folder in ReplicaFolder.all(data_dir) if folder.is_alive()]
    for task in TaskFolder.all(data_dir):
        signals.end_all(task.path, task.is_alive)
    _stop(running, "stopped with the control plane", grace_seconds)
    return len(running)


def _stop(folders: list[ReplicaFolder], reason: str, grace_seconds: float) -> None:
    """SIGTERM to the API processes, SIGKILL to whatever of them is left at the deadline."""
    deadline = time.monotonic() + grace_seconds
    asked: set[tuple[str, int]] = set()
    left = list(folders)
    for folder in left:
        folder.mark_stopped(reason)
    while left:
        kill = time.monotonic() > deadline
        for folder in left:
            main = folder.main_pid()
            if kill:
                for pid in list(signals.members(folder.path)):
                    signals.send(pid, folder.path, signal.SIGKILL)
            elif main and (folder.replica_id, main) not in asked:
                asked.add((folder.replica_id, main))
                signals.send(main, folder.path, signal.SIGTERM)
            elif main is None and folder.recorded() is None:
                # It has not come so far as to record itself: nothing is served, so nothing to wait for.
                for pid in list(signals.members(folder.path)):
                    signals.send(pid, folder.path, signal.SIGKILL)
        left = [folder for folder in left if folder.is_alive()]
        if left:
            if time.monotonic() > deadline + 5:
                raise Transient(
                    f"The processes of {left[0].replica_id} do not end, even by SIGKILL.",
                    remedy="Look for a process in state D (ps aux) that waits for a disk or network.",
                )
            time.sleep(POLL_SECONDS)
    for folder in folders:
        folder.remove_secrets()


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"signal {code - 128}"


def _exit_reason(folder: ReplicaFolder, code: int | None) -> str:
    lines = folder.last_log_lines()
    if code is None:
        reason = "The process is gone without an exit code (killed, or the machine restarted)"
    elif code == EXIT_PORT_TAKEN:
        reason = f"Another program took its port (exit code {code})"
    elif code == EXIT_ALREADY_RUNNING:
        reason = f"Another process of the same replica runs (exit code {code})"
    elif code > 128:
        reason = f"The process was killed by {_signal_name(code)} (exit code {code})"
    else:
        reason = f"The process ended with exit code {code}"
    return f"{reason}: {lines}" if lines and (code is None or code <= 128) else f"{reason}."


@runtime
class ProcessRuntime:
    """Replicas as processes of this machine, each `manage.py api` in a folder of its own."""

    name = "processes"

    def __init__(self, data_dir: Path | None = None):
        self.data_dir = Path(data_dir or settings.DATA_DIR)

    def _folder(self, replica_id: str) -> ReplicaFolder:
        return ReplicaFolder(self.data_dir, replica_id)

    def validate(self, image: str, config: Mapping[str, Any]) -> list[Problem]:
        """This machine runs what is installed on it, and no other image."""
        if image != settings.API_IMAGE:
            return [
                Problem(
                    "image",
                    f"This machine runs its own installation, {settings.API_IMAGE}; it cannot run {image}.",
                    f"Leave the image out, or give {settings.API_IMAGE}.",
                    code="image_not_installed",
                )
            ]
        return []

    def schema(self, image: str) -> str:
        """What `migrate` brings a database to; while it stays the same, there is nothing to migrate."""
        folder = Path(settings.BASE_DIR) / "vectors" / "migrations"
        return sorted(path.stem for path in folder.glob("[0-9]*.py"))[-1]

    def migrate(self, spec: ReplicaSpec) -> Progress:
        """Bring the target's database to the release's schema, in a process of role api; re-runnable."""
        environment = self._environment(spec)
        with _secret_descriptor(spec.secrets.values["database_url"]) as descriptor:
            environment["DATABASE_URL_FILE"] = f"/proc/self/fd/{descriptor}"
            try:
                done = subprocess.run(
                    [sys.executable, str(settings.BASE_DIR / "manage.py"), "migrate", "--no-color"],
                    env=environment,
                    pass_fds=(descriptor,),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=MIGRATE_SECONDS,
                )
            except subprocess.TimeoutExpired:
                raise Transient(
                    f"The vector schema was not migrated within {MIGRATE_SECONDS} s.",
                    remedy="Look for a lock or a busy disk on the PostgreSQL server.",
                ) from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {done.returncode}"
            for secret in spec.secrets.values.values():
                reason = reason.replace(secret, "***")
            return Progress(FAILED, error=f"The vector schema could not be migrated: {reason}")
        return Progress(SUCCEEDED, message="The vector schema is up to date.")

    def tasks(self) -> ProcessTasks:
        """What runs long work beside a target's database here."""
        return ProcessTasks(self.data_dir)

    def place(self, taken: frozenset[int]) -> tuple[str, int | None]:
        """A host and a free port for a new replica; Conflict when the range is used up."""
        host = settings.REPLICA_HOST
        for port in settings.REPLICA_PORTS:
            if port not in taken and _is_free(host, port):
                return host, port
        raise Conflict(
            f"No port is free in {settings.REPLICA_PORTS.start} to {settings.REPLICA_PORTS.stop - 1}.",
            remedy="Widen AINDUS_REPLICA_PORTS, or destroy targets that are not needed.",
        )

    def start(self, spec: ReplicaSpec) -> ReplicaState:
        """Start the replica's process unless it lives already; returns at once."""
        folder = self._folder(spec.replica_id)
        folder.make()
        descriptor = folder.hold()
        if descriptor is None:
            return self.state(spec.replica_id)
        try:
            folder.clear_traces()
            environment = self._environment(spec) | {
                "AINDUS_REPLICA_DIR": str(folder.path),
                "AINDUS_API_WORKERS": str(spec.config.get("workers", 1)),
                "AINDUS_API_THREADS": str(spec.config.get("threads", 2)),
            }
            for name, variable in SECRET_FILES.items():
                if not spec.secrets.values.get(name):
                    continue
                path = folder.write_secret(name, spec.secrets.values[name])
                environment[f"{variable}_FILE"] = str(path)
            with folder.log.open("ab") as log:
                launcher = subprocess.Popen(
                    [
                        "/bin/sh",
                        str(LAUNCHER),
                        *settings.API_COMMAND,
                        f"--host={spec.host}",
                        f"--port={spec.port}",
                    ],
                    cwd=folder.path,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                    umask=0o077,
                )
            # The launcher puts the replica into the background and ends: nobody here is its parent.
            launcher.wait(timeout=5)
        except OSError as error:
            raise Transient(
                f"The process could not be started: {error.strerror or error}.",
                remedy=f"See that {self.data_dir} can be written and has space.",
            ) from error
        finally:
            os.close(descriptor)
        return self.state(spec.replica_id)

    def _environment(self, spec: ReplicaSpec) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            **spec.config.get("env", {}),
            "AINDUS_ROLE": "api",
            "CLUSTER_REGION": spec.region,
            "CLOUD_PROVIDER": spec.provider,
        }

    def state(self, replica_id: str) -> ReplicaState:
        """What is true of the replica now, from its folder and /proc."""
        folder = self._folder(replica_id)
        if not folder.exists():
            return ReplicaState(replica_id, "absent")
        if folder.is_alive():
            main, recorded = folder.main_pid(), folder.recorded()
            if main:
                handle = {"pid": main, "start_ticks": str(recorded["start_ticks"])}
                if recorded.get("version"):
                    handle["version"] = recorded["version"]
                return ReplicaState(replica_id, "running", handle, recorded.get("port"))
            if recorded is None and folder.exit_code() is None:
                return ReplicaState(replica_id, "starting")
            self._await_exit(folder)
        if not folder.was_launched():
            return ReplicaState(replica_id, "absent")
        code, stopped = folder.exit_code(), folder.stop_reason()
        if stopped is not None:
            return ReplicaState(replica_id, "stopped", exit_code=code, reason=stopped)
        return ReplicaState(replica_id, "exited", exit_code=code, reason=_exit_reason(folder, code))

    def _await_exit(self, folder: ReplicaFolder) -> None:
        """Between the process's end and its exit code lies a moment; the launcher is about to write it."""
        deadline = time.monotonic() + 0.5
        while folder.exit_code() is None and folder.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self, replica_id: str, *, grace_seconds: float = 10.0, reason: str = "stopped") -> ReplicaState:
        """End the replica's processes and wait until they are gone; absence is fine."""
        folder = self._folder(replica_id)
        if folder.exists():
            if folder.is_alive():
                _stop([folder], reason, grace_seconds)
            folder.remove_secrets()
        return self.state(replica_id)

    def remove(self, replica_id: str) -> None:
        """Delete what the replica left: its folder with its logs."""
        folder = self._folder(replica_id)
        if folder.is_alive():
            self.stop(replica_id, grace_seconds=2.0)
        folder.remove()

    def known(self) -> list[str]:
        """The ids of all replicas that have a folder."""
        return [folder.replica_id for folder in ReplicaFolder.all(self.data_dir)]

    def tidy(self, replica_id: str) -> None:
        """Keep the replica's log within AINDUS_REPLICA_LOG_MIB."""
        replica_logs.rotate(self._folder(replica_id), settings.REPLICA_LOG_MIB << 20)

    def logs(
        self,
        replica_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str = "",
        level: str = "",
        cursor: str = "",
        limit: int = 500,
    ) -> Iterator[LogLine]:
        """The newest `limit` records in the range, oldest first; with `cursor` the next ones after it."""
        return replica_logs.read(
            self._folder(replica_id),
            since=since,
            until=until,
            search=search,
            level=level,
            cursor=cursor,
            limit=limit,
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _secret_descriptor(value: str):
    """A descriptor of memory that holds a secret: in no argument, no environment, no file on a disk."""
    descriptor = os.memfd_create("secret")
    try:
        os.write(descriptor, value.encode())
        yield descriptor
    finally:
        os.close(descriptor)


def _launch() -> list[str]:
    return ["/bin/sh", str(LAUNCHER), *settings.API_COMMAND]
