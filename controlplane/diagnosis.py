"""The control plane's own checks of `manage.py doctor`."""

import importlib.metadata
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from packaging.requirements import Requirement

from controlplane import crypto, embedded, rotation
from controlplane.broker import HEARTBEAT_EVERY_SECONDS, HEARTBEAT_KEY, redis_client
from controlplane.doctor import Finding, check, failing, ok, warning
from controlplane.probes import unapplied_migrations
from controlplane.supervisor.preflight import LEAST_DISK_BYTES, RunLock, mebibytes
from controlplane.supervisor.run import http_fault

PINNED = re.compile(r"^[A-Za-z0-9][^\\\n]*", re.MULTILINE)
START = "Start it: script/up. Its log: {}"


@check("Python")
def python_version() -> Finding:
    text = f"{sys.version.split()[0]} at {sys.executable}"
    folder = Path(sys.prefix)
    if folder.resolve() != (settings.BASE_DIR / ".venv").resolve() and (settings.BASE_DIR / ".venv").exists():
        return warning(text, "Use the installation's own: .venv/bin/python manage.py doctor.")
    return ok(text)


@check("packages")
def packages_match_lock() -> Finding:
    wrong, count = [], 0
    for line in PINNED.findall((settings.BASE_DIR / "requirements.txt").read_text()):
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        count += 1
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} {found} (wanted {wanted.specifier})")
    if wrong:
        return failing(", ".join(wrong), "Run script/bootstrap; if it says nothing, remove .venv first.")
    return ok(f"{count} as pinned in requirements.txt")


@check("data directory")
def data_directory() -> Finding:
    folder = settings.DATA_DIR
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".write-"):
            pass
    except OSError as error:
        return failing(
            f"{folder}: {error.strerror}", "Make it writable for this account, or set AINDUS_DATA_DIR."
        )
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {mebibytes(free)} free"
    if free < LEAST_DISK_BYTES:
        return failing(text, "Free some disk: the control plane does not start with so little.")
    if free < 4 * LEAST_DISK_BYTES:
        return warning(text, "Free some disk soon.")
    return ok(text)


@check("memory")
def memory() -> Finding:
    size = embedded.memory_bytes()
    if size < 2 * 2**30:
        return warning(mebibytes(size), "With less than 2 GiB large indexes build slowly; give it more.")
    return ok(mebibytes(size))


@check("PostgreSQL")
def postgresql() -> Finding:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"
                " current_setting('max_connections')::int,"
                " pg_size_bytes(current_setting('shared_buffers')),"
                " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            )
            version, number, connections, buffers, used = cursor.fetchone()
    except (DatabaseError, OSError) as error:
        return failing(str(error).partition("\n")[0], START.format(settings.EMBEDDED.logs / "postgres.log"))
    text = f"{version}, {used} of {connections} connections, shared_buffers {mebibytes(buffers)}"
    if number < 140000:
        return failing(text, "Use PostgreSQL 14 or newer.")
    if connections < 100:
        return warning(text, "Set max_connections to 100 or more.")
    if used > connections * 0.8:
        return warning(text, "Raise max_connections, or find who holds so many connections.")
    if buffers < 128 * 2**20:
        return warning(text, "Set shared_buffers to a quarter of the memory: search is slow without.")
    return ok(text)


@check("pgvector", needs="PostgreSQL")
def pgvector() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
        row = cursor.fetchone()
    if row is None:
        return failing("not available in this server", "Install the package pgvector for this PostgreSQL.")
    if tuple(int(part) for part in row[0].split(".")[:2]) < (0, 8):
        return failing(row[0], "Install pgvector 0.8 or newer: filtered search needs its iterative scan.")
    return ok(row[0])


@check("migrations", needs="PostgreSQL")
def migrations() -> Finding:
    missing = unapplied_migrations()
    if missing:
        return failing(f"not applied: {', '.join(missing)}", "Run .venv/bin/python manage.py migrate.")
    return ok("all applied")


@check("encryption keys", needs="migrations")
def encryption_keys() -> Finding:
    total = old = 0
    for secret in rotation.stored_secrets():
        total += 1
        try:
            crypto.decrypt(secret.token)
        except ImproperlyConfigured:
            return failing(
                f"{secret} cannot be decrypted", "Put the key that wrote it back into AINDUS_ENCRYPTION_KEYS."
            )
        old += not crypto.is_current(secret.token)
    if old:
        return warning(f"{old} of {total} secrets use an older key", "Run manage.py rotate_secrets.")
    return ok(f"{total} secrets, all readable")


@check("clock", needs="PostgreSQL")
def clock() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        difference = abs(cursor.fetchone()[0] - time.time())
    text = f"{difference:.2f} s from the database's"
    if difference > 2:
        return warning(text, "Set both machines by NTP: leases and log times compare their clocks.")
    return ok(text)


@check("Redis")
def redis_server() -> Finding:
    try:
        with redis_client() as client:
            version = client.info("server")["redis_version"]
            waiting = {name: client.llen(name) for name in settings.WORKER_QUEUES}
    except Exception as error:
        return failing(str(error), START.format(settings.EMBEDDED.logs / "redis.log"))
    text = f"{version}, waiting: " + ", ".join(f"{name} {count}" for name, count in waiting.items())
    if sum(waiting.values()) > 1000:
        return warning(text, "The workers do not keep up: start more, or see their log.")
    return ok(text)


@check("worker", needs="Redis")
def worker_answers() -> Finding:
    from celery import current_app as app

    answers = app.control.inspect(timeout=2).ping() or {}
    if not answers:
        return failing("no worker answers", START.format(settings.EMBEDDED.logs / "worker.log"))
    return ok(", ".join(sorted(answers)))


@check("beat", needs="Redis")
def beat_is_alive() -> Finding:
    with redis_client() as client:
        value = client.get(HEARTBEAT_KEY)
    if value is None:
        return failing("no sign of life", START.format(settings.EMBEDDED.logs / "beat.log"))
    age = time.time() - float(value)
    text = f"last sign of life {age:.0f} s ago"
    if age > 6 * HEARTBEAT_EVERY_SECONDS:
        return failing(text, START.format(settings.EMBEDDED.logs / "beat.log"))
    return ok(text)


@check("web")
def web_answers() -> Finding:
    running = RunLock(settings.DATA_DIR).running()
    if not running or not running.get("url"):
        return warning(
            "no `manage.py up` runs on this data directory",
            "Start it: script/up. If the web role runs elsewhere, ask its /ready.",
        )
    fault = http_fault(f"{running['url']}/ready")
    if fault:
        return failing(f"{running['url']}: {fault}", START.format(settings.EMBEDDED.logs / "web.log"))
    return ok(f"{running['url']} is ready")
