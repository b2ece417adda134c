"""What a handler of a kind of job is given: the job, and how it tells how far it is."""

import time
import uuid
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

REPORT_SECONDS = 0.5


class CancelledError(Exception):
    """The job was cancelled, or its collection deleted, while it ran."""


class FailedError(Exception):
    """The job cannot be done; the message says why and what to do."""


@dataclass
class Work:
    """A job that is being run: on `db`, a connection of its own that holds the job's lock."""

    db: psycopg.Connection
    job_id: uuid.UUID
    kind: str
    params: dict
    collection_id: uuid.UUID
    collection: str
    dimension: int
    metric: str
    attempt: int
    # What an earlier attempt reported; {} before the first report.
    progress: dict = field(default_factory=dict)
    # Of the runner: the most memory of a build in MiB (0: the server's own setting).
    memory_mib: int = 0
    # For connections of the handler's own.
    conninfo: str = ""
    _reported: float = 0.0

    def report(self, *, force: bool = False, db: psycopg.Connection | None = None, **progress) -> None:
        """Keep the progress given, at most twice a second unless forced; CancelledError when it must stop.

        With `db` it is written in that connection's transaction, so that work and progress are one: the next
        runner that dies is the first to die of what comes then.
        """
        self.progress = {**self.progress, **progress}
        now = time.monotonic()
        if not force and now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        kept = (db or self.db).execute(
            "UPDATE vectors_job SET progress = %s, attempt = CASE WHEN %s THEN 1 ELSE attempt END"
            " WHERE id = %s AND state = 'running'",
            [Jsonb(self.progress), db is not None, self.job_id],
        )
        if not kept.rowcount:
            raise CancelledError
