"""What is printed: tables, and for each target whether it is met or by how much not."""

import datetime
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


def table(header: list[str], rows: list[list]) -> str:
    """Columns as wide as their widest cell: the first to the left, the others to the right."""
    cells = [header, *([text_of(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = []
    for row in cells:
        first, *others = (
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def text_of(cell) -> str:
    """A number with three figures or more, anything else as it is; None is nothing."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


@dataclass(frozen=True)
class Target:
    """A value beside its bound, which is the least or the most that it may be."""

    what: str
    value: float
    bound: float
    most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.bound if self.most else self.value >= self.bound

    @property
    def short_by(self) -> float:
        """By which share of the bound it falls short; 0 when it is met."""
        return 0.0 if self.met else abs(self.value - self.bound) / abs(self.bound) if self.bound else 1.0

    def __str__(self) -> str:
        sign = "<=" if self.most else ">="
        verdict = "met" if self.met else f"falls short by {self.short_by * 100:.0f} %"
        return f"{self.what}: {self.value:.3g}{self.unit} ({sign} {self.bound:g}{self.unit}) {verdict}"


@dataclass
class Report:
    """Prints and remembers."""

    lines: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        print(text, flush=True)
        self.lines.append(text)

    def section(self, title: str) -> None:
        self.say(f"\n## {title}\n")

    def table(self, header: list[str], rows: list[list]) -> None:
        self.say(table(header, rows))

    def target(
        self, what: str, value: float, *, least: float | None = None, most: float | None = None, unit=""
    ):
        """State a target and whether it is met."""
        bound = most if least is None else least
        found = Target(what, value, bound, most=least is None, unit=unit)
        self.targets.append(found)
        self.say(f"target  {found}")

    def summary(self) -> None:
        """What is met, and what is not."""
        short = [target for target in self.targets if not target.met]
        self.section(f"{len(self.targets) - len(short)} of {len(self.targets)} targets met")
        for target in short:
            self.say(f"- {target}")

    def keep(self, folder: Path, name: str) -> Path:
        """Write all that was said into a file of today's date; another one when there is one already."""
        folder.mkdir(parents=True, exist_ok=True)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        path, number = folder / f"{today}-{name}.txt", 1
        while path.exists():
            number += 1
            path = folder / f"{today}-{name}-{number}.txt"
        path.write_text("\n".join(self.lines).strip() + "\n")
        return path


def machine_line() -> str:
    """What the figures were taken on."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPUs, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB,"
        f" Python {platform.python_version()}, load average at the start {load:.1f}"
    )
