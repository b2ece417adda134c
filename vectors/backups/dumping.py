"""Writes a backup: pg_dump of one snapshot streamed to its place, and what that snapshot holds beside it."""

import contextlib
import hashlib
import json
import subprocess
import uuid

from vectors import database
from vectors.backups import places, proof
from vectors.backups.programs import Program
from vectors.backups.telling import Telling
from vectors.transfer import sinks

STATEMENT_MS = 3600 * 1000
FORMAT = 1
# Vectors are text in a dump, which the fastest level halves; more levels cost time and gain little.
COMPRESSION = "gzip:1"


def dump(place: str, job_id: uuid.UUID, telling: Telling) -> dict:
    """Back the database up to a place; what the backup is: {size_bytes, sha256, at, ..., collections}.

    The dump and the figures are of the same snapshot, whatever is written meanwhile.
    """
    conninfo = database.conninfo_from_settings()
    with contextlib.closing(database.Connection(conninfo, STATEMENT_MS)) as connection:
        connection.watched = False
        connection.simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot, at, size, version = connection.db.execute(
            "SELECT pg_export_snapshot(), now(), pg_database_size(current_database()),"
            " current_setting('server_version')"
        ).fetchone()
        written, digest = _stream(place, job_id, conninfo, snapshot, telling)
        held = proof.taken(connection, lambda name, done, total: telling.progress("reading what it holds"))
    manifest = {
        "format": FORMAT,
        "at": at.isoformat(),
        "server_version": version,
        "database_bytes": size,
        "size_bytes": written,
        "sha256": digest,
        **held,
    }
    places.put(place + places.SUFFIX, job_id, json.dumps(manifest, separators=(",", ":")).encode())
    return summary(manifest)


def summary(manifest: dict) -> dict:
    """A manifest without the long parts."""
    shown = {key: value for key, value in manifest.items() if key not in ("collections", "indexes")}
    parts = ("name", "dimension", "metric", "points", "checksum", "recall")
    shown["collections"] = [{name: one[name] for name in parts} for one in manifest["collections"]]
    return shown


def _stream(place: str, job_id: uuid.UUID, conninfo: str, snapshot: str, telling: Telling) -> tuple[int, str]:
    """(bytes, SHA-256) of pg_dump's output, once all of it lies at its place."""
    sink = places.sink(place, job_id)
    state = sink.begin()
    hashed, written, number = hashlib.sha256(usedforsecurity=False), 0, 0
    arguments = ("--format=custom", f"--compress={COMPRESSION}", "--no-owner", "--no-acl", "--no-comments")
    try:
        with Program(
            "pg_dump", conninfo, *arguments, f"--snapshot={snapshot}", stdout=subprocess.PIPE
        ) as program:
            telling.progress("dumping", bytes=0)
            while part := _read(program.process.stdout, sinks.part_bytes(number), written, telling):
                sink.put(state, part)
                hashed.update(part)
                written, number = written + len(part), number + 1
                telling.progress("dumping", bytes=written)
            program.finish()
        sink.finish(state)
    except BaseException:
        sink.abandon(state)
        raise
    return written, hashed.hexdigest()


def _read(stream, size: int, before: int, telling: Telling) -> bytes:
    """Exactly so many bytes, fewer only at the end."""
    found = bytearray()
    while len(found) < size and (block := stream.read1(min(size - len(found), 2**20))):
        found += block
        telling.progress("dumping", bytes=before + len(found))
    return bytes(found)
