"""Reads a backup back into an empty database, and holds the copy against what was backed up."""

import contextlib
import hashlib
import subprocess

from psycopg.conninfo import conninfo_to_dict

from vectors import database
from vectors.backups import places, proof
from vectors.backups.dumping import STATEMENT_MS
from vectors.backups.programs import Program
from vectors.backups.telling import Telling
from vectors.jobs.work import FailedError

BLOCK_BYTES = 2**20


def restore(place: str, telling: Telling) -> dict:
    """Fill the database from the backup at a place; {size_bytes}. FailedError when its bytes are others.

    The database is empty but for the extension `vector`: its owner need not be a superuser.
    """
    manifest = places.manifest(place)
    conninfo = database.conninfo_from_settings()
    hashed, done = hashlib.sha256(usedforsecurity=False), 0
    arguments = ("--format=custom", "--no-owner", "--no-acl", "--no-comments", "--exit-on-error")
    with contextlib.closing(places.source(place)) as source:
        if source.size != manifest["size_bytes"]:
            raise FailedError(
                f"The backup has {source.size} bytes instead of {manifest['size_bytes']}: it is damaged."
            )
        read = source.reader(0)
        arguments += (f"--dbname={conninfo_to_dict(conninfo)['dbname']}",)
        with Program("pg_restore", conninfo, *arguments, stdin=subprocess.PIPE) as program:
            try:
                while block := read(BLOCK_BYTES):
                    hashed.update(block)
                    program.process.stdin.write(block)
                    done += len(block)
                    telling.progress("restoring", bytes=done, total_bytes=source.size)
                program.process.stdin.close()
            except BrokenPipeError:
                program.finish()
                raise FailedError("pg_restore ended before it had read the backup.") from None
            telling.progress("building indexes", bytes=done, total_bytes=source.size)
            # Wrong bytes most often stop pg_restore as well: what is wrong with them says more.
            if hashed.hexdigest() != manifest["sha256"]:
                raise FailedError("The bytes of the backup are not those that were written: it is damaged.")
            program.finish()
    with contextlib.closing(database.Connection(conninfo, STATEMENT_MS)) as connection:
        telling.progress("analysing")
        connection.simple("ANALYZE")
    return {"size_bytes": done}


def prove(place: str, telling: Telling) -> dict:
    """{collections, points, queries, recall} of the database, alike the backup's manifest; FailedError."""
    expected = places.manifest(place)
    conninfo = database.conninfo_from_settings()
    with contextlib.closing(database.Connection(conninfo, STATEMENT_MS)) as connection:
        connection.watched = False
        connection.simple("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        telling.progress("comparing", bytes=0, total_bytes=expected["size_bytes"])
        wrong, compared = proof.differences(
            connection, expected, lambda name, done, total: telling.progress("comparing")
        )
    proof.check(wrong)
    return compared
