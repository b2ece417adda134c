"""Imports: points of a file into a collection, as a job that goes on where a dead runner's batch ended."""

import dataclasses
import itertools
import time
import uuid
from dataclasses import dataclass, field

import psycopg
from django.utils.module_loading import import_string
from psycopg import errors as pg_errors

from controlplane import ids
from controlplane.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from vectors import collections, database, upserts
from vectors.collections import Collection
from vectors.jobs import records
from vectors.jobs.work import CancelledError, FailedError, Work
from vectors.transfer import checksums, places, uploads
from vectors.transfer.chunks import Chunk, Row, batch_of, fault, problem_of
from vectors.transfer.sources import open_source
from vectors.transfer.uploads import IMPORT

# Imported when first needed: what reads Parquet is large.
READERS = {"ndjson": "vectors.transfer.ndjson.Reader", "parquet": "vectors.transfer.parquet.Reader"}
PROBLEMS_KEPT = 100
TRIES = 5
STATEMENT_SECONDS = 300


def import_start(
    *,
    name: str,
    upload: str | None = None,
    path: str | None = None,
    url: str | None = None,
    format: str = "ndjson",
    namespace: str = "",
    on_error: str = "fail",
    columns: dict | None = None,
    other_columns: str = "ignore",
) -> dict:
    """Queue an import from an upload, a path or a URL; the job.

    InvalidError, ForbiddenError for a place that may not be used, ConflictError for an upload that is not
    complete or is in use already.
    """
    collection = collections.collection_load(name)
    params: dict = {"format": format, "namespace": namespace, "on_error": on_error}
    if format == "parquet":
        params |= {"columns": columns or {}, "other_columns": other_columns}
    if path is not None:
        places.path_allowed(path)
        params["path"] = path
    elif url is not None:
        params["url"] = places.url_allowed(url)
    else:
        params |= {"upload": upload, "upload_id": str(uploads.id_of(upload))}
    with database.pool().connection() as connection, connection.db.transaction():
        if upload is not None:
            upload_claim(connection, collection, params["upload_id"])
        try:
            job_id = records.job_queue(connection.db, collection.id, IMPORT, params)
        except pg_errors.ForeignKeyViolation:
            raise collections.unknown(name) from None
    return records.job_get(ids.encode("job", job_id))


def upload_claim(connection: database.Connection, collection: Collection, upload_id: str) -> None:
    """Look at an upload, locked until the job that uses it is queued."""
    row = connection.db.execute(
        f"SELECT collection_id, size_bytes, received_bytes, {uploads.IN_USE} FROM vectors_upload u"
        " WHERE id = %s FOR UPDATE",
        [upload_id],
    ).fetchone()
    if row is None or row[0] != collection.id:
        raise uploads.unknown()
    if row[3]:
        raise uploads.in_use()
    if row[1] is not None and row[1] != row[2]:
        raise ConflictError(
            f"The upload has {row[2]} of {row[1]} bytes: send the rest.",
            code="incomplete",
            received_bytes=row[2],
        )


@dataclass
class Totals:
    """How far an import is: what is kept with each chunk, in the job's progress."""

    rows: int = 0
    errors: int = 0
    bytes: int = 0
    problems: list[dict] = field(default_factory=list)
    # Of the rows since the input last spoke of them, and how often what it said was true.
    count: int = 0
    sum: int = 0
    verified: int = 0
    at: dict = field(default_factory=dict)


class Importer:
    """One run of an import job."""

    def __init__(self, work: Work, connection: database.Connection):
        self.work = work
        self.connection = connection
        self.public_id = ids.encode("col", work.collection_id)
        self.fail = work.params["on_error"] == "fail"
        kept = work.progress.get("resume") or {}
        self.totals = Totals(**kept.get("totals", {}))
        self.identity = kept.get("identity")
        self.began, self.rows_before = time.monotonic(), self.totals.rows

    def run(self, source) -> None:
        """Read and write everything that is left."""
        if self.identity is not None and self.identity != source.identity:
            raise FailedError(
                f"The file changed while it was imported: it was {self.identity}, now {source.identity}."
            )
        self.identity = source.identity
        kind = import_string(READERS[self.work.params["format"]])
        reader = kind(source, self.work.params, self.collection())
        self.work.report(bytes_total=source.size, rows_total=reader.rows_total, phase="loading")
        for chunk in reader.chunks(self.totals.at):
            self.write(chunk)

    def collection(self) -> Collection:
        try:
            return collections.collection_get(self.public_id)
        except NotFoundError:
            raise CancelledError from None

    def write(self, chunk: Chunk) -> None:
        """Write a chunk and how far it brings the import, both or neither."""
        for attempt in itertools.count(1):
            try:
                self.attempt(chunk)
                return
            except pg_errors.UndefinedTable:
                raise CancelledError from None
            except (psycopg.OperationalError, UnavailableError):
                # Deadlocks, a statement that waited too long, a connection that was lost: all is as before.
                if attempt == TRIES:
                    raise
                # When the database itself is away, the runner begins again once it is back.
                self.work.db.execute("SELECT 1")
                time.sleep(0.2 * attempt)
                self.connection.close()
                self.connection = open_connection()

    def attempt(self, chunk: Chunk) -> None:
        collection = self.collection()
        wrong = list(chunk.wrong)
        with self.connection.db.transaction() as transaction:
            groups: dict[str, list[Row]] = {}
            for row in chunk.rows:
                groups.setdefault(row.namespace, []).append(row)
            good: list[Row] = []
            # In the order in which everything locks, so that nothing deadlocks.
            for namespace in sorted(groups):
                written, refused = self.upsert(collection, namespace, groups[namespace])
                good += written
                wrong += refused
            totals = self.sums(chunk, good, wrong)
            if self.fail and totals.errors:
                raise psycopg.Rollback(transaction)
            self.report(totals, db=self.connection.db)
        if self.fail and totals.errors:
            first = totals.problems[0]
            self.report(dataclasses.replace(self.totals, errors=totals.errors, problems=totals.problems))
            raise FailedError(f"Line {first['line']}: {first['field'] or 'line'}: {first['message']}")
        self.totals = totals

    def upsert(self, collection: Collection, namespace: str, rows: list[Row]) -> tuple[list[Row], list[dict]]:
        """Rows that were written, and what is wrong with the others."""
        wrong = []
        last = {row.id: row.line for row in rows}
        if len(last) < len(rows):
            # Of equal ids the last is written; the others are judged by themselves.
            rows, wrong = judged(collection, rows, lambda row: last[row.id] != row.line)
        try:
            upserts.points_upsert(self.connection, collection, namespace=namespace, batch=batch_of(rows))
            return rows, wrong
        except InvalidError as refused:
            if len(rows) == 1:
                return [], [*wrong, problem_of(rows[0].line, rows[0].id, refused)]
        good, more = judged(collection, rows, lambda row: True)
        if more:
            halves = [good]
        else:
            halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        written = []
        for half in halves:
            found, refused = self.upsert(collection, namespace, half)
            written += found
            more += refused
        return written, wrong + more

    def sums(self, chunk: Chunk, good: list[Row], wrong: list[dict]) -> Totals:
        before = self.totals
        totals = Totals(
            rows=before.rows + len(good),
            bytes=chunk.done_bytes,
            count=before.count + len(good),
            sum=before.sum + sum(map(digest_of, good)),
            verified=before.verified,
            at=chunk.at,
        )
        if chunk.manifest is not None:
            told = wrong_manifest(chunk.manifest, totals)
            if told:
                wrong.append(problem_of(chunk.at["line"], None, InvalidError(told, code="checksum_mismatch")))
            elif chunk.manifest["checksum"] is not None and chunk.manifest["after"] is None:
                totals.verified += 1
            totals.count = totals.sum = 0
        totals.sum %= checksums.MODULUS
        totals.errors = before.errors + len(wrong)
        wrong.sort(key=lambda problem: problem["line"])
        totals.problems = (before.problems + wrong)[:PROBLEMS_KEPT]
        return totals

    def report(self, totals: Totals, db=None) -> None:
        seconds = max(time.monotonic() - self.began, 1e-3)
        shown = {
            "rows": totals.rows,
            "bytes": totals.bytes,
            "errors": totals.errors,
            "problems": totals.problems,
            "rows_per_second": round((totals.rows - self.rows_before) / seconds, 1),
        }
        resume = {"identity": self.identity, "totals": vars(totals)}
        self.work.report(force=True, db=db, resume=resume, **shown)

    def result(self) -> dict:
        totals = self.totals
        return {
            "rows": totals.rows,
            "errors": totals.errors,
            "problems": totals.problems,
            "bytes": totals.bytes,
            "verified": totals.verified,
            "seconds": round(time.monotonic() - self.began, 3),
        }


def judged(collection: Collection, rows: list[Row], which) -> tuple[list[Row], list[dict]]:
    """Rows without those that are wrong by themselves, as far as `which(row)` says to look."""
    good, wrong = [], []
    for row in rows:
        error = fault(collection, row) if which(row) else None
        if error is None:
            good.append(row)
        else:
            wrong.append(problem_of(row.line, row.id, error))
    return good, wrong


def digest_of(row: Row) -> int:
    content = None if row.content is None else row.content.encode()
    return checksums.digest(
        row.namespace.encode(), row.id.encode(), row.packed, content, row.metadata.strip() or b"{}"
    )


def wrong_manifest(manifest: dict, totals: Totals) -> str:
    """What is wrong with the rows read since the last manifest; "" when it speaks of all and is right."""
    if manifest["error"] is not None:
        return f"The export broke off here: {manifest['error'].get('detail', '')}"
    if manifest["after"] is not None or manifest["checksum"] is None:
        return ""
    if manifest["points"] != totals.count:
        return f"The export had {manifest['points']} points, here are {totals.count} good ones."
    if manifest["checksum"] != checksums.text_of(totals.sum):
        return "The points are not those that were exported: their checksum is another one."
    return ""


def open_connection() -> database.Connection:
    """A connection as a caller's, with more time for a statement."""
    return database.Connection(database.pool().conninfo, STATEMENT_SECONDS * 1000)


def run(work: Work) -> dict:
    """Import what the job's parameters name; what was committed before stays."""
    importer = Importer(work, open_connection())
    try:
        if not work.progress.get("read"):
            with open_source(work.params, work.db) as source:
                importer.run(source)
            with work.db.transaction():
                # An upload has been used up; a runner that dies after this only has to say so.
                work.report(force=True, db=work.db, read=True, phase="done")
                if "upload_id" in work.params:
                    uploads.uploads_drop(work.db, [uuid.UUID(work.params["upload_id"])])
        return importer.result()
    finally:
        importer.connection.close()
