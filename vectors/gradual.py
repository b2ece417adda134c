"""Large upserts, decoded while they arrive.

Half of an upsert's time goes into reading JSON, and a third of it into receiving it. Both go on at once when
the body is decoded piece by piece. A body is cut where one point seems to end and the next to begin. Every
piece must be a list of points by itself, and what is before and after them a body without points: a parser
that has read what is before stands within the list of points, and stands there again after each piece, so the
whole decodes to the same as its pieces. Where that fails, for an unusual or wrong body, it is decoded whole.

Pieces are small, and vectors packed as soon as they are decoded: their numbers then never leave the
processor's cache, nor do large blocks of memory come from and go to the system with every request.
"""

import contextlib
import re
import struct

import msgspec

from vectors import bodies, vectors

# Smaller bodies are read at once.
LEAST_BYTES = 256 * 1024
PIECE_BYTES = 96 * 1024
# From the beginning of a body to that of its first point's first value.
BEGINNING = re.compile(rb'\s*\{[^\[{]*"points"\s*:\s*\[\s*(\{\s*"[^"\\]{1,40}"\s*:)')
BEGINNING_BYTES = 2048
NAME = b'"points"'

_points = msgspec.json.Decoder(list[bodies.Point])
_rest = msgspec.json.Decoder(bodies.Upsert)


class Receiver:
    """Receives one body, whose vectors have so many numbers."""

    def __init__(self, read, dimension: int):
        self.read = read
        self.dimension = dimension
        self.parts: list[bytes] = []
        self.points: list[bodies.Point] = []

    def receive(self) -> bodies.Upsert:
        """The body, with vectors in binary where they could be packed; the errors of `bodies.decode`."""
        try:
            found = self._pieced()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found = None
        if found is not None:
            return found
        while self._more():
            pass
        return bodies.decode(bodies.Upsert, b"".join(self.parts))

    def _more(self) -> bytes:
        part = self.read(PIECE_BYTES)
        self.parts.append(part)
        return part

    def _pieced(self) -> bodies.Upsert | None:
        """The body decoded piece by piece; None, or an error of msgspec's, when it cannot be."""
        first = self._more()
        begun = BEGINNING.match(first, 0, BEGINNING_BYTES)
        if begun is None:
            return None
        head, rest = first[: begun.start(1)], first[begun.start(1) :]
        # As the first two points are parted, or, when there is one, the way most programs write.
        parted = re.compile(rb"\}\s*,\s*" + re.escape(begun[1])).search(rest)
        separator = parted[0] if parted else b"}," + begun[1]
        between = len(separator) - 1 - len(begun[1])
        while True:
            end = rest.rfind(separator) + 1
            if end:
                self._take(rest[:end])
                rest = rest[end + between :]
            part = self._more()
            if not part:
                break
            rest += part
        end = rest.rfind(b"]")
        self._take(rest[:end])
        # Of a name given twice the last counts.
        if head.count(NAME) != 1 or NAME in rest[end:]:
            return None
        found = _rest.decode(head + rest[end:])
        if found.points != []:
            return None
        found.points = self.points
        return found

    def _take(self, piece: bytes) -> None:
        points = _points.decode(b"[%b]" % piece)
        for point in points:
            values = point.vector
            if values is not None and len(values) == self.dimension:
                # Others are judged with the batch.
                with contextlib.suppress(OverflowError, struct.error):
                    point.vector = vectors.packed(values, self.dimension)
        self.points += points
