"""What must hold before anything is started; each fault says what to do about it."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from controlplane import embedded

LEAST_DISK_BYTES = 512 * 2**20
LEAST_MEMORY_BYTES = 768 * 2**20


class StartError(Exception):
    """The control plane cannot start; the message says what to do."""


def mebibytes(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


def check_data_directory(folder: Path) -> None:
    """That the data directory exists or can be made, takes files, and has room."""
    remedy = "Give it to this account, or name another one with AINDUS_DATA_DIR."
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except NotADirectoryError:
        raise StartError(f"The data directory {folder} is, or lies below, a file. {remedy}") from None
    except FileExistsError:
        raise StartError(f"The data directory {folder} is a file. {remedy}") from None
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise StartError(
                f"The disk of the data directory {folder} is full:"
                f" free at least {mebibytes(LEAST_DISK_BYTES)}."
            ) from None
        raise StartError(
            f"The data directory {folder} cannot be written ({error.strerror}). {remedy}"
        ) from None
    free = shutil.disk_usage(folder).free
    if free < LEAST_DISK_BYTES:
        raise StartError(
            f"The disk of the data directory {folder} is nearly full: {mebibytes(free)} free,"
            f" at least {mebibytes(LEAST_DISK_BYTES)} needed. Free some, or name another one with"
            " AINDUS_DATA_DIR."
        )


def check_memory() -> None:
    """That the machine, or our control group, is large enough for all parts."""
    memory = embedded.memory_bytes()
    if memory < LEAST_MEMORY_BYTES:
        raise StartError(
            f"Only {mebibytes(memory)} of memory may be used here; at least {mebibytes(LEAST_MEMORY_BYTES)}"
            " are needed. Raise the limit of the container or use a larger machine."
        )


def check_postgres_version(layout: embedded.Layout) -> None:
    """That the data directory was made by the same major version as the installed server."""
    try:
        made_by = (layout.postgres / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    text = subprocess.run(
        [embedded.postgres_bin() / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    ours = text.split()[2].split(".")[0]
    if int(made_by) > int(ours):
        raise StartError(
            f"The data in {layout.root} was made by PostgreSQL {made_by}, newer than the installed {ours}."
            " Use the release of the control plane that made it, or another AINDUS_DATA_DIR."
        )
    if int(made_by) < int(ours):
        raise StartError(
            f"The data in {layout.root} was made by PostgreSQL {made_by}; the installed one is {ours}."
            " Dump it with the former release and load it with this one: docs/operations.md, Upgrade."
        )


def check_port(host: str, port: int) -> None:
    """That the web role can listen on host and port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise StartError(f"{host} is not an address of this machine; see --host.") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except PermissionError:
            raise StartError(
                f"Port {port} may not be used by this account; choose one over 1023 with --port."
            ) from None
        except OSError as error:
            if error.errno == 98:  # EADDRINUSE
                raise StartError(
                    f"Port {port} of {host} is taken by another program; choose another with --port."
                ) from None
            raise StartError(f"{host} is not an address of this machine; see --host.") from None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class RunLock:
    """The one supervisor of a data directory: an flock that goes with the process, and what it runs.

    The file stays; whether somebody runs is told by the lock alone. Its content is
    {pid, url, groups: [process group ids of the children]}.
    """

    def __init__(self, folder: Path):
        self.path = folder / "supervisor.json"
        self._file = None

    def take(self) -> dict:
        """Become the one; what the former one left written. StartError when another one runs."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{self.path} cannot be opened ({error.strerror}).") from None
        file = os.fdopen(descriptor, "r+")
        # Somebody who only looks (`running`) holds the lock for a moment.
        for attempt in range(10):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt < 9:
                    time.sleep(0.05)
        else:
            running = self._read(file)
            file.close()
            where = running.get("url") or "it is still starting"
            raise StartError(
                "The control plane runs already on this data directory:"
                f" {where} (process {running.get('pid')}). Stop it with: .venv/bin/python manage.py down"
            )
        self._file = file
        return self._read(file)

    def write(self, **values) -> None:
        """Replace what is told of the running supervisor."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(values, self._file)
        self._file.flush()

    def release(self) -> None:
        """Tell that nothing runs any more, and let the next one in."""
        if self._file:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None

    def running(self) -> dict | None:
        """What the running supervisor wrote, None when none runs."""
        try:
            file = self.path.open("r+")
        except OSError:
            return None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return self._read(file)
        return None

    @staticmethod
    def _read(file) -> dict:
        file.seek(0)
        try:
            return json.loads(file.read() or "{}")
        except ValueError:
            return {}
