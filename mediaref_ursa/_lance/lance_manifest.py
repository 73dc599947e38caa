"""A bounded parser of a Lance table's manifest, run before Lance opens the table. Pure.

A manifest is a protobuf message that names the files of one version of a table. Those files need not lie in
the table's own folder: base paths lead to other folders and other stores, and a path may be absolute. So the
few fields that name files are read here, and whatever leads out of its folder, or is of a kind that this
parser does not know, is an error. The message is ``lance.table.Manifest`` of Lance's ``protos/table.proto``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mediaref_ursa._core.redaction import redact
from mediaref_ursa._lance.protobuf import Value, fields, message_of, whole_number

MAX_MANIFEST_BYTES = 64 << 20
"""The largest manifest that is read: it contains the metadata of thousands of segments."""

_MAX_PARTS = 2_000_000
_MAX_FRAGMENTS = 65_536
_MAX_ROWS = 2**48
_FOOTER = struct.Struct("<QHH4s")
_MESSAGE_BYTES = struct.Struct("<I")
_MAGIC = b"LANC"
_PLAIN_PATH = re.compile(r"(?!\.)[\w.=+@-]+(/(?!\.)[\w.=+@-]+)*", re.ASCII)
_V2_DIGITS = 20
_LAST_VERSION = 2**64 - 1
_MANIFEST_NAME = re.compile(r"([0-9]{1,20})\.manifest", re.ASCII)

# Field numbers of Manifest, DataFragment, DataFile and DeletionFile that name no file, or are read below.
_MANIFEST_FIELDS = frozenset((*range(1, 17), 18, 19, 20, 21))
_FRAGMENTS, _VERSION, _READER_FLAGS, _DATA_FORMAT, _BASE_PATHS = 2, 3, 9, 15, 18
# Stable row ids, the second file format, a table's configuration, base paths (which are looked at), and no
# transaction files.
_KNOWN_FLAGS = 2 | 4 | 8 | 16 | 32
_HAS_DELETIONS = 1
_FRAGMENT_FIELDS = frozenset({1, 2, 4, 5, 7, 9})
_FILES, _DELETION_FILE, _PHYSICAL_ROWS, _OVERLAYS = 2, 3, 4, 11
_EXTERNAL_FILES = frozenset({6, 8, 10})
_FILE_FIELDS = frozenset(range(1, 7))
_PATH, _BASE_ID, _BASE_PATH_PATH = 1, 7, 4


@dataclass(frozen=True)
class Manifest:
    """The files of one version of a table, as its manifest lists them.

    Attributes:
        version: The version that it describes.
        rows: Rows of all fragments, deleted ones included.
        data_files: Paths below the folder ``data``, each once.
        leads_outside: The first thing in it that lies outside the table's folder, None where all lies within.
        is_unusual: The first thing in it that no table of this library has, and that may name further
            files; None where there is nothing of the kind.
        has_changed_rows: What only a collection has: files of deleted rows, or of row ids; else None.
    """

    version: int
    rows: int
    data_files: tuple[str, ...]
    leads_outside: str | None
    is_unusual: str | None
    has_changed_rows: str | None = None


def version_of_name(name: str) -> int | None:
    """Return the version whose manifest has that name in ``_versions``; None for other names.

    Names count up (``7.manifest``), or down from the largest number of 64 bits, so that the latest sorts
    first.

    >>> version_of_name("7.manifest"), version_of_name("18446744073709551608.manifest")
    (7, 7)
    >>> version_of_name("latest_version_hint.json")
    """
    match = _MANIFEST_NAME.fullmatch(name)
    if match is None or int(match[1]) > _LAST_VERSION:
        return None
    number = int(match[1])
    return _LAST_VERSION - number if len(match[1]) == _V2_DIGITS else number


def latest_manifest(names: Iterable[str]) -> tuple[int, str] | None:
    """Return the latest version among the names in ``_versions``, and its manifest's name; None without any.

    Raises:
        ValueError: Two manifests of one version.

    >>> latest_manifest(["18446744073709551614.manifest", "18446744073709551613.manifest", "x.json"])
    (2, '18446744073709551613.manifest')
    """
    found: dict[int, str] = {}
    for name in names:
        version = version_of_name(name)
        if version is not None and found.setdefault(version, name) != name:
            raise ValueError(f"two manifests of version {version}")
    return max(found.items()) if found else None


def parse_manifest_file(data: bytes) -> Manifest:
    """Parse a manifest's file: the last 16 bytes hold the offset of its message.

    Raises:
        ValueError: It is no manifest, or has more parts than any index.
    """
    if len(data) < _FOOTER.size:
        raise ValueError(f"a manifest of {len(data)} bytes")
    position, _, _, magic = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    if magic != _MAGIC:
        raise ValueError("a manifest that does not end in 'LANC'")
    start = position + _MESSAGE_BYTES.size
    if start > len(data) - _FOOTER.size:
        raise ValueError("a manifest that is cut short")
    (size,) = _MESSAGE_BYTES.unpack_from(data, position)
    if start + size > len(data) - _FOOTER.size:
        raise ValueError("a manifest that is cut short")
    return parse_manifest(memoryview(data)[start : start + size])


def parse_manifest(message: bytes | memoryview) -> Manifest:
    """Parse a manifest's protobuf message.

    Raises:
        ValueError: It is none, or has more parts than any index.
    """
    return _Parser().parse(memoryview(message))


class _Parser:
    """Parser of one manifest, which collects the files it names. A repeated field is checked each time."""

    def __init__(self) -> None:
        self._parts_left = _MAX_PARTS
        self._outside: str | None = None
        self._unusual: str | None = None
        self._changed_rows: str | None = None
        self._files: dict[str, None] = {}

    def parse(self, message: memoryview) -> Manifest:
        version, rows, fragments = 0, 0, 0
        for number, value in self._fields(message):
            if number == _VERSION:
                version = whole_number(value)
            elif number == _FRAGMENTS:
                fragments += 1
                rows += self._fragment(message_of(value))
            elif number == _BASE_PATHS:
                self._base_path(message_of(value))
            elif number == _DATA_FORMAT:
                self._data_format(message_of(value))
            elif number == _READER_FLAGS:
                self._flags(whole_number(value))
            elif number not in _MANIFEST_FIELDS:
                self._note_unknown(number, value, "the manifest")
            if fragments > _MAX_FRAGMENTS or rows > _MAX_ROWS:
                raise ValueError(f"a manifest of {fragments} fragments and {rows} rows")
        return Manifest(version, rows, tuple(self._files), self._outside, self._unusual, self._changed_rows)

    def _flags(self, flags: int) -> None:
        if flags & _HAS_DELETIONS:
            self._changed_rows = self._changed_rows or f"the flags {flags}"
        if flags & ~(_KNOWN_FLAGS | _HAS_DELETIONS):
            self._note_unusual(f"the flags {flags}")

    def _fragment(self, message: memoryview) -> int:
        rows = 0
        for number, value in self._fields(message):
            if number == _PHYSICAL_ROWS:
                rows = whole_number(value)
            elif number == _FILES:
                self._data_file(message_of(value))
            elif number == _DELETION_FILE:
                self._changed_rows = self._changed_rows or "a deletion file"
                for part, _ in self._fields(message_of(value)):
                    if part == _BASE_ID:
                        self._note_outside("a deletion file below another base path")
            elif number in _EXTERNAL_FILES:
                self._changed_rows = self._changed_rows or "a file of row ids or versions"
                self._paths(message_of(value))
            elif number == _OVERLAYS:
                self._note_unusual("an overlay file")
                for part, file in self._fields(message_of(value)):
                    if part == 1:
                        self._data_file(message_of(file))
            elif number not in _FRAGMENT_FIELDS:
                self._note_unknown(number, value, "a fragment")
        return rows

    def _data_file(self, message: memoryview) -> None:
        for path in self._paths(message):
            self._files[path] = None
        for number, value in self._fields(message):
            if number == _BASE_ID:
                self._note_outside("a data file below another base path")
            elif number not in _FILE_FIELDS:
                self._note_unknown(number, value, "a data file")

    def _paths(self, message: memoryview) -> list[str]:
        """Return the paths in a file's message that stay within the table's folder."""
        found = []
        for number, value in self._fields(message):
            if number != _PATH:
                continue
            path = str(message_of(value), "utf-8", "replace")
            if _PLAIN_PATH.fullmatch(path):
                found.append(path)
            else:
                self._note_outside(f"the file {_printable(path)}")
        return found

    def _base_path(self, message: memoryview) -> None:
        self._note_outside("a base path")
        for number, value in self._fields(message):
            if number == _BASE_PATH_PATH:
                self._outside = f"the base path {_printable(str(message_of(value), 'utf-8', 'replace'))}"

    def _data_format(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            name = str(message_of(value), "utf-8", "replace")
            if (number == 1 and name != "lance") or (number == 2 and not name.startswith("2.")):
                self._note_unusual(f"data of the format {_printable(name)}")

    def _note_outside(self, what: str) -> None:
        self._outside = self._outside or what

    def _note_unusual(self, what: str) -> None:
        self._unusual = self._unusual or what

    def _note_unknown(self, number: int, value: Value, where: str) -> None:
        """Record an unknown field as unusual, unless it is a number, which can name no file."""
        if not isinstance(value, int):
            self._note_unusual(f"the field {number} of {where}")

    def _fields(self, message: memoryview) -> Iterator[tuple[int, Value]]:
        """Yield number and value of each field of a message."""
        for field in fields(message):
            self._parts_left -= 1
            if self._parts_left < 0:
                raise ValueError(f"a manifest of more than {_MAX_PARTS} parts")
            yield field


def _printable(text: str) -> str:
    return ascii(redact(text))
