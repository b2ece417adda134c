"""Run a command that ends with its parent: `python -I -S tether.py SIGNAL PARENT ACCOUNT COMMAND...`.

ACCOUNT is `uid:gid` to become, or `-` to stay who we are.

The kernel sends SIGNAL when the parent dies, however it dies. Asked for by a program of its own between
fork and exec, because Python code in a forked child of a process with threads may hang.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, see that the parent still lives, and become the command."""
    number, parent, account, *command = sys.argv[1:]
    if account != "-":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of account, which clears it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != int(parent):
            raise SystemExit("the parent died before the command started")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
