"""Signals to a replica's processes, never to a stranger that was given a dead one's pid."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from deployments.errors import Transient


def _is_member(pid: int, folder: Path) -> bool:
    """Whether a live process was started as part of the replica of this folder."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    marker = b"AINDUS_REPLICA_DIR=" + os.fsencode(folder)
    return state not in "ZXx" and marker in environment.split(b"\0")


def members(folder: Path) -> Iterator[int]:
    """The pids of the replica's live processes: its launcher, the API process, and their children."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_member(int(entry.name), folder):
            yield int(entry.name)


def send(pid: int, folder: Path, signal_number: signal.Signals) -> bool:
    """Signal a process if it is the replica's; the pidfd pins it between the check and the signal."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_member(pid, folder):
            return False
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal_number)
            return True
        return False
    finally:
        os.close(descriptor)


def end_all(folder: Path, is_alive: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """SIGKILL every member until `is_alive` says no; Transient when they do not end."""
    deadline = time.monotonic() + seconds
    while is_alive():
        for pid in list(members(folder)):
            send(pid, folder, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Transient(f"The processes of {folder.name} do not end, even by SIGKILL.")
        time.sleep(0.01)
