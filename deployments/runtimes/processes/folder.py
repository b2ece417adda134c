"""The folder of one replica: what is in it is what is true of the replica's process.

`<data dir>/replicas/<replica id>/` holds
- `alive`      a file on which every process of the replica holds one shared `flock` for life
- `launched`   made by the launcher before anything else; `started_at` is its time
- `exit`       the exit code, once the API process ended
- `stopped`    why it was stopped, when it was stopped on purpose
- `replica.json`, `lock`  written and held by the API process itself (pid, start ticks, port, version)
- `database_url`, `jwt_secret`, `jwt_secret_previous`  mode 0600, named to the process by `*_FILE` settings
- `log`, `log.<from>-<to>`  what it printed
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from worker.owner import start_ticks

REPLICA_ID = re.compile(r"\Arep_[0-9a-z]{26}\Z")
SECRET_FILES = {
    "database_url": "DATABASE_URL",
    "jwt_secret": "JWT_SECRET_KEY",
    "jwt_secret_previous": "JWT_SECRET_KEY_PREVIOUS",
}
# What a launch leaves behind, and the next one must not take for its own.
TRACES = ("launched", "exit", "exit.new", "stopped", "replica.json")


class ReplicaFolder:
    """Reads and writes one replica's folder; never a process."""

    def __init__(self, data_dir: Path, replica_id: str):
        if not REPLICA_ID.match(replica_id):
            raise ValueError(f"not a replica's id: {replica_id!r}")
        self.replica_id = replica_id
        self.path = data_dir / "replicas" / replica_id

    @classmethod
    def all(cls, data_dir: Path) -> "Iterator[ReplicaFolder]":
        """Every replica's folder below a data directory."""
        with suppress(FileNotFoundError):
            for entry in sorted((data_dir / "replicas").iterdir()):
                if REPLICA_ID.match(entry.name):
                    yield cls(data_dir, entry.name)

    @property
    def log(self) -> Path:
        return self.path / "log"

    def exists(self) -> bool:
        return self.path.is_dir()

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def remove(self) -> None:
        """Delete the folder; absence is fine."""
        shutil.rmtree(self.path, ignore_errors=True)

    def hold(self) -> int | None:
        """A descriptor that owns the replica's life, for its processes to inherit; None while they live."""
        descriptor = os.open(self.path / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_alive(self) -> bool:
        """Whether any process of the replica lives, or is being launched this moment."""
        try:
            descriptor = os.open(self.path / "alive", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # A shared lock, so that two onlookers never take each other for the replica.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def clear_traces(self) -> None:
        for name in TRACES:
            (self.path / name).unlink(missing_ok=True)

    def write_secret(self, name: str, value: str) -> Path:
        """Store a secret so that only this user can read it; atomic."""
        path = self.path / name
        temporary = path.with_name(f".{name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
        temporary.replace(path)
        return path

    def remove_secrets(self) -> None:
        for name in SECRET_FILES:
            (self.path / name).unlink(missing_ok=True)

    def secrets(self) -> list[str]:
        """The secret values themselves, to keep them out of what is shown."""
        found = []
        for name in SECRET_FILES:
            with suppress(OSError):
                value = (self.path / name).read_text()
                found.append(value)
                if name == "database_url" and (match := re.search(r"://[^:/@]+:([^@]+)@", value)):
                    found.append(match[1])
        return [value for value in found if value]

    def recorded(self) -> dict | None:
        """What the API process wrote of itself once it listened."""
        try:
            return json.loads((self.path / "replica.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def main_pid(self) -> int | None:
        """The API process, when it lives: pid and start time must both be the recorded ones."""
        recorded = self.recorded()
        if recorded and start_ticks(int(recorded["pid"])) == str(recorded["start_ticks"]):
            return int(recorded["pid"])
        return None

    def was_launched(self) -> bool:
        return (self.path / "launched").exists()

    def exit_code(self) -> int | None:
        """The API process's exit code as a shell tells it (128 + signal when killed)."""
        try:
            return int((self.path / "exit").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def stop_reason(self) -> str | None:
        """Why it was stopped on purpose; None when it was not."""
        try:
            return (self.path / "stopped").read_text()
        except FileNotFoundError:
            return None

    def mark_stopped(self, reason: str) -> None:
        (self.path / "stopped").write_text(reason)

    def last_log_lines(self, count: int = 2, size: int = 400) -> str:
        """The last lines it printed in this launch, on one line, without secrets."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - 8192))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return self.redact(" | ".join(lines[-count:])[-size:])

    def redact(self, text: str) -> str:
        """The text with this replica's secrets blanked."""
        for value in self.secrets():
            text = text.replace(value, "***")
        return text
