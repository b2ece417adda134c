"""Strictly parsed settings from the environment.

Every setting is declared once through `Env`, may be given as NAME or as NAME_FILE (a path whose content
is the value, for mounted secrets), and is listed in `docs/operations.md`, which a test reads.
"""

import os
import secrets
from pathlib import Path
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


class Declared(NamedTuple):
    name: str
    default: str
    doc: str


class Env:
    """Reads settings and remembers each declaration for the documentation test and `doctor`."""

    def __init__(self, environ=os.environ):
        self.environ = environ
        self.declared: dict[str, Declared] = {}

    def text(self, name: str, default: str | None = "", *, doc: str, choices: tuple = ()) -> str | None:
        """The setting as text; ImproperlyConfigured when both NAME and NAME_FILE are given."""
        self.declared[name] = Declared(name, "" if default is None else str(default), doc)
        value = self.environ.get(name)
        file = self.environ.get(f"{name}_FILE")
        if value is not None and file:
            raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
        if file:
            try:
                value = Path(file).read_text().strip()
            except OSError as error:
                raise ImproperlyConfigured(f"{name}_FILE={file} cannot be read: {error.strerror}.") from error
        if value is None or value == "":
            value = default
        if choices and value not in choices:
            raise ImproperlyConfigured(f"{name}={value!r}: use one of {', '.join(choices)}.")
        return value

    def integer(self, name: str, default: int, *, doc: str, least: int = 0, most: int = 2**31) -> int:
        """The setting as a whole number between least and most."""
        text = self.text(name, str(default), doc=doc)
        try:
            number = int(text)
        except ValueError:
            raise ImproperlyConfigured(f"{name}={text!r} is not a whole number.") from None
        if not least <= number <= most:
            raise ImproperlyConfigured(f"{name}={number} is not between {least} and {most}.")
        return number

    def ports(self, name: str, default: str, *, doc: str) -> range:
        """The setting as a range of TCP ports, written `first-last`."""
        text = self.text(name, default, doc=doc)
        first, _, last = text.partition("-")
        if not (first.isdigit() and last.isdigit() and 1024 <= int(first) <= int(last) <= 65535):
            raise ImproperlyConfigured(f"{name}={text!r}: write first-last, within 1024 and 65535.")
        return range(int(first), int(last) + 1)

    def boolean(self, name: str, default: bool, *, doc: str) -> bool:
        """The setting as true or false."""
        text = self.text(name, "true" if default else "false", doc=doc).lower()
        if text in TRUE:
            return True
        if text in FALSE:
            return False
        raise ImproperlyConfigured(f"{name}={text!r}: use true or false.")

    def words(self, name: str, default: str = "", *, doc: str) -> list[str]:
        """The setting as a list, separated by commas."""
        return [word.strip() for word in self.text(name, default, doc=doc).split(",") if word.strip()]

    def secret(self, name: str, path: Path, *, doc: str, make=lambda: secrets.token_urlsafe(48)) -> str:
        """The setting, or the content of `path`, made with mode 0600 on first use."""
        value = self.text(name, None, doc=doc)
        return value if value is not None else kept_secret(path, make)


def kept_secret(path: Path, make) -> str:
    """The text kept at `path`; made once, by whichever process comes first."""
    try:
        return _read_or_make(path, make)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path} cannot be read or made ({error.strerror}). Is its folder writable by this account, and"
            " is there free disk? AINDUS_DATA_DIR names another data directory."
        ) from None


def _read_or_make(path: Path, make) -> str:
    for _ in range(2):
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(make())
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
    return path.read_text().strip()
