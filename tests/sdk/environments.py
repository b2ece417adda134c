"""Environments of vendors' clients and of the bench's rivals, made when first needed, in the user's cache.

An environment belongs to the very text of its pinned requirements: another pin, another folder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aindusdb" / "sdk"


def python_of(name: str, requirements_folder: Path = HERE) -> Path:
    """The interpreter of an environment with the folder's requirements-<name>.txt installed."""
    requirements = requirements_folder / f"requirements-{name}.txt"

    def install(folder: Path) -> None:
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        run(
            [
                *(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"),
                *("-r", str(requirements)),
            ]
        )

    return made(name, requirements.read_bytes() + sys.version.encode(), install) / "bin" / "python"


def node_modules_of(name: str) -> Path:
    """The folder of the packages that <name>/package-lock.json pins."""
    files = [HERE / name / file for file in ("package.json", "package-lock.json")]

    def install(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)])

    return made(name, b"".join(file.read_bytes() for file in files), install) / "node_modules"


def made(name: str, pins: bytes, install) -> Path:
    """The folder that install(folder) makes, once."""
    folder = cache() / f"{name}-{hashlib.sha256(pins).hexdigest()[:16]}"
    cache().mkdir(parents=True, exist_ok=True)
    # Several runs of the tests may want it at once.
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            install(folder)
            (folder / "complete").touch()
    return folder


def run(command: list[str]) -> None:
    """Run a step of making an environment; RuntimeError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
