"""Tasks as detached processes of this machine, each in a folder `<data dir>/tasks/<task id>/`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from deployments.errors import Transient
from deployments.runtimes import tasks
from deployments.runtimes.processes import signals
from deployments.runtimes.processes.folder import ReplicaFolder
from deployments.runtimes.tasks import Task, TaskState

LAUNCHER = Path(__file__).with_name("launch.sh")
TASK_ID = re.compile(r"\A[a-z0-9][a-z0-9-]{1,59}\Z")
TOLD_BYTES = 1 << 20
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "AINDUS_POSTGRES_BIN",
    "AINDUS_TRANSFER_NETWORKS",
)
# Where a store is and who we are to it, by the names that the vendors' own tools use.
INHERITED_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_", "CLOUDSDK_")


class TaskFolder(ReplicaFolder):
    """A task's folder: what is in it is what is true of its process."""

    def __init__(self, data_dir: Path, task_id: str):
        if not TASK_ID.match(task_id):
            raise ValueError(f"not a task's id: {task_id!r}")
        self.replica_id = task_id
        self.path = data_dir / "tasks" / task_id

    @classmethod
    def all(cls, data_dir: Path) -> "Iterator[TaskFolder]":
        """Every task's folder below a data directory."""
        with suppress(FileNotFoundError):
            for entry in sorted((data_dir / "tasks").iterdir()):
                if TASK_ID.match(entry.name):
                    yield cls(data_dir, entry.name)

    def told(self) -> dict:
        """What the task told last."""
        try:
            with self.log.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - TOLD_BYTES))
                return tasks.told(file.read().decode(errors="replace").splitlines())
        except FileNotFoundError:
            return {}


class ProcessTasks:
    """Runs tasks on this machine, as what is installed on it."""

    def __init__(self, data_dir: Path | None = None):
        self.data_dir = Path(data_dir or settings.DATA_DIR)

    @property
    def home(self) -> str:
        return str((self.data_dir / "backups").absolute())

    def free_bytes(self) -> int | None:
        place = Path(self.home)
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free

    def start(self, task: Task) -> None:
        """Start the task's process unless it was started before."""
        folder = TaskFolder(self.data_dir, task.task_id)
        folder.make()
        descriptor = folder.hold()
        if descriptor is None or folder.was_launched():
            if descriptor is not None:
                os.close(descriptor)
            return
        try:
            url = folder.write_secret("database_url", task.secrets.values["database_url"])
            with folder.log.open("ab") as log:
                launcher = subprocess.Popen(
                    [
                        *("/bin/sh", str(LAUNCHER)),
                        *(sys.executable, str(settings.BASE_DIR / "manage.py"), "vectors_backup"),
                        *(task.verb, "--at", task.place, "--job", task.job_id),
                    ],
                    cwd=folder.path,
                    env=self._environment(task, folder) | {"DATABASE_URL_FILE": str(url)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(descriptor,),
                    start_new_session=True,
                    umask=0o077,
                )
            launcher.wait(timeout=5)
        except OSError as error:
            raise Transient(
                f"The task could not be started: {error.strerror or error}.",
                remedy=f"See that {self.data_dir} can be written and has space.",
            ) from error
        finally:
            os.close(descriptor)

    def _environment(self, task: Task, folder: TaskFolder) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in INHERITED or name.startswith(INHERITED_PREFIXES)
        }
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            **task.config.get("env", {}),
            "AINDUS_ROLE": "api",
            "AINDUS_REPLICA_DIR": str(folder.path),
            "CLUSTER_REGION": task.region,
            "CLOUD_PROVIDER": task.provider,
        }

    def look(self, task_id: str) -> TaskState:
        """What is true of the task now, from its folder."""
        folder = TaskFolder(self.data_dir, task_id)
        if not folder.exists() or not (folder.was_launched() or folder.is_alive()):
            return TaskState(tasks.ABSENT)
        alive = folder.is_alive()
        told, code, lines = folder.told(), folder.exit_code(), folder.last_log_lines()
        if not alive:
            folder.remove_secrets()
        reason = f"The process ended with exit code {code}." if code is not None else "The process is gone."
        return tasks.state_of(told, alive=alive, reason=f"{reason} {lines}".strip())

    def end(self, task_id: str) -> None:
        """End the task's processes, and remove its folder."""
        folder = TaskFolder(self.data_dir, task_id)
        if folder.exists():
            signals.end_all(folder.path, folder.is_alive)
            folder.remove()

    def known(self) -> list[str]:
        return [folder.replica_id for folder in TaskFolder.all(self.data_dir)]
