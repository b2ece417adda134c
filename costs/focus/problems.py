"""What is wrong with a file: lines, columns and reasons."""

from dataclasses import asdict, dataclass, field

SHOWN = 100
VALUE_CHARACTERS = 100


@dataclass(frozen=True)
class Problem:
    """A broken row, by what is wrong with one of its columns; `line` counts from 1, the header included.

    In a Parquet file, which has no lines, `line` is the row's number from 1.
    """

    line: int
    column: str
    reason: str
    value: str = ""

    def __str__(self):
        where = f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"
        return f"{where}: {self.reason}"


class UnreadableFileError(Exception):
    """The file as a whole cannot be read; the message says why. `number` is its place among several."""

    number = 0


@dataclass
class Problems:
    """Broken rows counted, the first ones kept."""

    rows: int = 0
    first: list[dict] = field(default_factory=list)

    def add(self, file: str, found: list[Problem]) -> None:
        """Take up the problems of some rows; a row may have several."""
        self.rows += len({problem.line for problem in found})
        for problem in found[: SHOWN - len(self.first)]:
            told = asdict(problem)
            told["value"] = told["value"][:VALUE_CHARACTERS]
            self.first.append({"file": file, **told})
