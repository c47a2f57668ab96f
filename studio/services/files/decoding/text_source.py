"""The text of a file piece by piece: unpacked where it is gzipped, its bytes counted, its encoding found by its first bytes."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path

from studio.errors import DatasetError
from studio.services.files.decoding.rows import Limits, row_too_long, too_large

GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 16
#: Members of one gzip file; tools that pack in blocks write one for each 64 kB.
_MAX_MEMBERS = 10_000


class TextSource:
    """A text file, to be read once: :meth:`pieces` or :meth:`lines`."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.name = path.name
        self.limits = limits
        self._path = path
        self._characters = 0

    def pieces(self) -> Iterator[str]:
        """The text as it comes, without a byte order mark.

        Raises:
            DatasetError: over the limit unpacked, not UTF-8 (or UTF-16 with its mark), or no sound gzip file.
        """
        decoder: codecs.IncrementalDecoder | None = None
        lines = 1
        for piece in self._unpacked():
            if decoder is None:
                utf16 = piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                decoder = codecs.getincrementaldecoder("utf-16" if utf16 else "utf-8-sig")()
                if not utf16 and b"\0" in piece[:1024]:
                    raise DatasetError(
                        f"{self.name} is not UTF-8 text (there are zero bytes in it, as in UTF-16 without its mark); save it as "
                        "UTF-8 and import it again."
                    )
            try:
                yield decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                line = lines + error.object.count(b"\n", 0, error.start)
                raise DatasetError(
                    f"{self.name} is not UTF-8 (byte 0x{error.object[error.start]:02x} in line {line}); save it as UTF-8 and "
                    "import it again."
                ) from None
            lines += piece.count(b"\n")

    def lines(self) -> Iterator[str]:
        """The lines, each with the line feed that ends it. Only line feeds end one: U+2028 and the like may stand inside a
        JSON string.

        Raises:
            DatasetError: as :meth:`pieces`; or a row, of one or more lines, is too long: the reader says by :meth:`new_row` where one
                begins.
        """
        rest: list[str] = []
        number = 1
        for piece in self.pieces():
            self._characters += len(piece)
            *whole, last = piece.split("\n")
            for line in whole:
                rest.append(line)
                yield "".join(rest) + "\n"
                number += 1
                rest.clear()
            rest.append(last)
            if self._characters > self.limits.row_characters:
                raise row_too_long(self.name, f"line {number}", self.limits.row_characters)
        if any(rest):
            yield "".join(rest)

    def new_row(self) -> None:
        """A row has been read to its end."""
        self._characters = 0

    def _unpacked(self) -> Iterator[bytes]:
        """The bytes in pieces, and an empty one at the end."""
        size = 0
        with self._path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            pieces = iter(lambda: file.read(_PIECE), b"")
            for piece in self._gunzip(pieces) if packed else pieces:
                size += len(piece)
                if size > self.limits.size:
                    raise too_large(f"{self.name}, unpacked," if packed else self.name, self.limits)
                yield piece
        yield b""

    def _gunzip(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Every member of a gzip file (RFC 1952), at most ``_PIECE`` bytes at a time; zeros after the last are padding."""
        member, members, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), 1, False
        try:
            for packed in pieces:
                packed = packed if begun else packed.lstrip(b"\0")
                while packed:
                    begun = True
                    if unpacked := member.decompress(packed, _PIECE):
                        yield unpacked
                    packed = member.unconsumed_tail
                    if member.eof:
                        packed = member.unused_data.lstrip(b"\0")
                        member, members, begun = zlib.decompressobj(zlib.MAX_WBITS | 16), members + 1, False
                    if members > _MAX_MEMBERS:
                        raise DatasetError(f"{self.name} is not a sound gzip file: it has over {_MAX_MEMBERS:,} parts.")
            if begun:
                raise zlib.error("it ends too early")
        except zlib.error as error:
            raise DatasetError(f"{self.name} is not a sound gzip file: {error}.") from None
