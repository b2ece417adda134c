"""The pinned requirements can be installed together, and come from whichever index is configured."""

import re

import pytest
from django.conf import settings

FILES = [settings.BASE_DIR / f"requirements{more}.txt" for more in ("", "-dev", "-clouds")]
SDKS = sorted((settings.BASE_DIR / "tests" / "sdk").glob("requirements-*.txt"))
PIN = re.compile(r"([A-Za-z0-9_.-]+)==(\S+)((?: ;[^\\]*)?)")


def pins(path) -> dict[tuple[str, str], str]:
    """Version by package and environment marker."""
    found = (PIN.match(line) for line in path.read_text().splitlines())
    return {(match[1], match[3].strip()): match[2] for match in found if match}


def test_files_agree_on_every_package():
    known: dict = {}
    for path in FILES:
        assert pins(path), path
        for package, version in pins(path).items():
            assert known.setdefault(package, version) == version, f"{path.name}: {package}"


@pytest.mark.parametrize("path", [*FILES, *SDKS], ids=lambda path: path.name)
def test_every_package_has_hashes_and_no_index_is_named(path):
    text = path.read_text()
    assert "--index-url" not in text and "://" not in text
    blocks = [block for block in re.split(r"\n(?=\S)", text.strip()) if PIN.match(block)]
    assert len(blocks) == len(pins(path))
    assert all("--hash=sha256:" in block for block in blocks)
