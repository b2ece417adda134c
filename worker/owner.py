"""Who holds a lease, told so exactly that another process of the same host can see it dead."""

import os
import socket
from functools import lru_cache
from pathlib import Path


def start_ticks(pid: int) -> str | None:
    """The start time of a live process in clock ticks since boot; None when it is dead or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZXx" else fields[19]


def _place() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        namespace = "0"
    return f"{socket.gethostname()}/{namespace}"


@lru_cache(maxsize=2)
def _mine(pid: int) -> str:
    return f"{_place()}/{pid}/{start_ticks(pid)}"


def mine() -> str:
    """This process as `host/pid namespace/pid/start ticks`."""
    return _mine(os.getpid())


def is_dead(owner: str) -> bool:
    """True only when the owner ran where we run and is there no more."""
    place, _, rest = owner.rpartition("/")[0].rpartition("/")
    pid, ticks = rest, owner.rpartition("/")[2]
    if place != _place() or not pid.isdigit():
        return False
    return start_ticks(int(pid)) != ticks


def local_prefix() -> str:
    """What every owner of this host and pid namespace starts with."""
    return _place() + "/"
