"""What the supervisor and its children say: on the terminal with a prefix, and in rotating files."""

import contextlib
import logging
import os
import sys
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_FILE_BYTES = 10 * 2**20
LOG_FILES_KEPT = 5
LONGEST_LINE_BYTES = 64 * 1024
COLOURS = {"up": 37, "postgres": 34, "redis": 31, "web": 32, "worker": 33, "beat": 35, "jobs": 36}


class QuietRotatingFileHandler(RotatingFileHandler):
    """A rotating file that a full disk makes incomplete instead of stopping the supervisor."""

    def handleError(self, record):
        pass


class LogFile:
    """DATA/logs/NAME.log: whole lines, 5 old files of 10 MiB kept, and the last lines at hand."""

    def __init__(self, folder: Path, name: str):
        self.tail: deque[str] = deque(maxlen=40)
        self._handler = QuietRotatingFileHandler(
            folder / f"{name}.log",
            maxBytes=LOG_FILE_BYTES,
            backupCount=LOG_FILES_KEPT,
            encoding="utf-8",
            errors="replace",
        )

    def write(self, line: str) -> None:
        self.tail.append(line)
        self._handler.handle(logging.LogRecord("child", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        self._handler.close()


class Console:
    """Standard output with one writer's name before each line; silent once its reader is gone."""

    def __init__(self, *, quiet: bool = False, stream=None):
        self._stream = stream or sys.stdout
        self._quiet = quiet
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, name: str, text: str) -> None:
        """One line of a child."""
        if self._quiet:
            return
        label = f"{name:<8} |"
        if self._colour:
            label = f"\x1b[{COLOURS.get(name, 36)}m{label}\x1b[0m"
        self._write(f"{label} {text}\n")

    def say(self, text: str) -> None:
        """Something the person who started it should read."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


class Lines:
    """Bytes as they come, given on as text lines of at most 64 KiB."""

    def __init__(self, take):
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._take(line.decode("utf-8", "replace").rstrip("\r"))

    def end(self) -> None:
        if self._rest:
            self.feed(b"\n")
