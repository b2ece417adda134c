"""Environments of their own for the vendors' clients and the bench's rivals, made when first needed and kept in
the user's cache.

An environment belongs to the very text of its pinned requirements: another pin, another folder.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aindusdb" / "sdk"


def python_of(name: str, requirements_folder: Path = HERE) -> Path:
    """The interpreter of an environment with the folder's requirements-<name>.txt installed."""
    requirements = requirements_folder / f"requirements-{name}.txt"
    sign = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache() / f"{name}-{sign}"
    python, complete = folder / "bin" / "python", folder / "complete"
    cache().mkdir(parents=True, exist_ok=True)
    # Several runs of the tests may want it at once.
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            run([sys.executable, "-m", "venv", "--clear", str(folder)])
            run(
                [
                    *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                    *("--require-hashes", "--only-binary", ":all:", "-r", str(requirements)),
                ]
            )
            complete.touch()
    return python


def run(command: list[str]) -> None:
    """Run a step of making an environment; RuntimeError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
