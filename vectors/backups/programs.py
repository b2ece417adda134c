"""pg_dump and pg_restore on a database, without its password in an argument."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from controlplane import embedded
from vectors.jobs.work import FailedError

# What the programs say when the server went away, or did not let them in yet.
AWAY = re.compile(
    r"connection to server|closed the connection|terminating connection|connection to client lost|"
    r"could not (send|receive)|starting up|shutting down"
)
NAMES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}


def program(name: str) -> Path:
    """A program of PostgreSQL; FailedError when it is not installed here."""
    given = settings.VECTORS["postgres_bin"]
    try:
        path = (Path(given) if given else embedded.postgres_bin()) / name
    except embedded.EmbeddedError as error:
        raise FailedError(str(error)) from None
    if not path.is_file():
        raise FailedError(f"There is no {name} here: set AINDUS_POSTGRES_BIN to the folder that has it.")
    return path


class AwayError(FailedError):
    """The database does not answer, or went away; another try makes sense."""


class Program:
    """A program that is connected to a database by its environment; its errors are kept to be told."""

    def __init__(self, name: str, conninfo: str, *arguments: str, **pipes):
        self.name = name
        parts = conninfo_to_dict(conninfo)
        connected = {NAMES[key]: str(value) for key, value in parts.items() if key in NAMES and value}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(program(name)), "--no-password", *arguments],
            env=os.environ | connected | {"PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"},
            stderr=self.errors,
            **pipes,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self.process.wait()
        self.errors.close()

    def finish(self) -> None:
        """Wait for its end; FailedError with what it printed when that was not a good one."""
        if self.process.wait():
            told = self.told()
            kind = AwayError if AWAY.search(told) and "does not exist" not in told else FailedError
            raise kind(f"{self.name}: {told}")

    def told(self) -> str:
        """The first error it printed."""
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().decode(errors="replace").splitlines()]
        wrong = [line for line in lines if "error:" in line] or [line for line in lines if line]
        text = wrong[0] if wrong else f"exit code {self.process.returncode}"
        return text.removeprefix(f"{self.name}: ").removeprefix("error: ").rstrip(".") + "."
