"""What a supervisor that was killed left behind: its children are ended before new ones start."""

import contextlib
import os
import signal
import time
from pathlib import Path

from controlplane import embedded

MARK = "AINDUS_SUPERVISED"


def _environment(pid: int) -> dict[str, str]:
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in data.decode("utf-8", "replace").split("\0") if "=" in item)


def survivors(layout: embedded.Layout, groups: list[int]) -> list[int]:
    """Processes of the groups that carry this data directory's mark, so that a reused id is never hit."""
    found = []
    for entry in Path("/proc").iterdir() if groups else ():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if os.getpgid(pid) in groups and _environment(pid).get(MARK) == str(layout.root):
                found.append(pid)
    return found


def postmaster_pid(layout: embedded.Layout) -> int | None:
    """The process id in postmaster.pid, None when there is no such file."""
    try:
        return int((layout.postgres / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def is_our_postgres(pid: int, layout: embedded.Layout) -> bool:
    """Whether a process is a PostgreSQL server on this data directory."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return (
        Path(command[0].decode(errors="replace")).name == "postgres"
        and str(layout.postgres).encode() in command
    )


def _wait_gone(is_there, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_there():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def clean_up(layout: embedded.Layout, former: dict, say) -> None:
    """End what the former supervisor's children are, and remove a postmaster.pid that lies.

    PostgreSQL refuses to start when the number in postmaster.pid belongs to any living process of its
    account, which after a restart of the machine is often another program.
    """
    groups = [int(group) for group in former.get("groups", [])]
    pid = postmaster_pid(layout)
    if pid is not None and is_our_postgres(pid, layout):
        say("A former start was killed; stopping the PostgreSQL it left.")
        for number, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if _wait_gone(lambda: is_our_postgres(pid, layout), seconds):
                break
    elif pid is not None:
        (layout.postgres / "postmaster.pid").unlink(missing_ok=True)
    left = survivors(layout, groups)
    if left:
        say(f"A former start was killed; ending {len(left)} processes it left.")
        for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            for process in survivors(layout, groups):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, number)
            if _wait_gone(lambda: survivors(layout, groups), seconds):
                break
