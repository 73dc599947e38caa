"""The frame index's schema metadata: each segment's facts, as one versioned JSON value. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from mediaref_ursa._core.errors import FrameIndexInvalidError, FrameIndexVersionError
from mediaref_ursa._core.redaction import without_credentials
from mediaref_ursa._core.uris import scheme_of, without_query
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.segment import (
    ALPHA_UNKNOWN,
    DECODED,
    FULL,
    MAX_PALETTES,
    PALETTE_BYTES,
    READER_VERSION,
    SPARSE,
    SegmentInfo,
    SegmentTable,
)
from mediaref_ursa._model.stream_header import StreamHeader

METADATA_KEY = "mediaref_ursa"
VERSION = (1, 0)
_SUFFIX = ".lance"
_TOO_LARGE = 2**62
_TOO_MANY_STREAMS = 2**31
_MAX_START_HEADERS = 1 << 16
_MAX_START_HEADERS_BYTES = 1 << 20


@dataclass(frozen=True)
class SegmentEntry:
    """One segment of an index.

    Attributes:
        info: What it is.
        frames: Rows of the table that belong to it.
        packets: Packets in all, output or not.
        columns_crc32: What ``SegmentTable.columns_crc32`` must be, None where it was not recorded.
    """

    info: SegmentInfo
    frames: int
    packets: int
    columns_crc32: int | None = None


def encode_metadata(tables: list[SegmentTable], index_uri: str) -> str:
    """Return the JSON value that describes the segments; URIs are relative to the index."""
    segments = []
    for table in tables:
        info = table.info
        segments.append(
            {
                "uri": _relative(recorded_uri(info.uri), index_uri),
                "length": info.length,
                "etag": info.etag,
                "container": info.container,
                "codec": info.codec,
                "codec_tag": info.codec_tag,
                "extradata": base64.b64encode(info.extradata).decode(),
                "time_base": [info.time_base.numerator, info.time_base.denominator],
                "width": info.width,
                "height": info.height,
                "pixel_format": info.pixel_format,
                "colorspace": info.colorspace,
                "color_range": info.color_range,
                "rotation": info.rotation,
                "addressable": info.addressable,
                "lookahead_packets": info.lookahead_packets,
                "bits_per_coded_sample": info.bits_per_coded_sample,
                "reorder_depth": info.reorder_depth,
                "cut_short": info.cut_short,
                "stream_index": info.stream_index,
                "verified": info.verified,
                "repeated_times": info.repeated_times,
                "restartable": info.restartable,
                "start_headers": [
                    [packet, base64.b64encode(headers).decode()] for packet, headers in info.start_headers
                ],
                "header": None if info.header is None else info.header.to_json(),
                "reader_version": info.reader_version,
                "untimed": list(info.untimed),
                "rotation_by_frame": info.rotation_by_frame,
                "palettes": [[first, base64.b64encode(data).decode()] for first, data in info.palettes],
                "alpha": info.alpha or None,
                "alpha_packets": base64.b64encode(info.alpha_packets).decode() or None,
                "frames": len(table),
                "packets": len(table.packets),
                "columns_crc32": table.columns_crc32,
            }
        )
    return json.dumps({"version": "{}.{}".format(*VERSION), "segments": segments})


def recorded_uri(uri: str) -> str:
    """Return a URI as an index records it: no signature and no credentials.

    >>> recorded_uri("https://me:secret@host/a.mp4?signature=1")
    'https://host/a.mp4'
    """
    return without_query(without_credentials(uri))


def decode_metadata(text: str, index_uri: str) -> tuple[SegmentEntry, ...]:
    """Return the segments that a JSON value of :func:`encode_metadata` describes.

    Keys that this version does not know are ignored.

    Raises:
        FrameIndexVersionError: Written by a newer major version.
        FrameIndexInvalidError: Not such a value.
    """
    try:
        value = json.loads(text)
        major = int(str(value["version"]).split(".", maxsplit=1)[0])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(f"its metadata is no versioned JSON value ({error!r})", index_uri) from error
    if major > VERSION[0]:
        raise FrameIndexVersionError(
            f"expected a frame index of version {VERSION[0]}.x, found {value['version']}; "
            "upgrade mediaref-ursa, or write the index anew",
            uri=index_uri,
        )
    try:
        return tuple(_entry(segment, index_uri) for segment in value["segments"])
    except (ValueError, KeyError, TypeError, ArithmeticError, binascii.Error) as error:
        raise _invalid(f"its metadata lacks or distorts a field ({error!r})", index_uri) from error


def _entry(segment: dict[str, Any], index_uri: str) -> SegmentEntry:
    num, den = (int(part) for part in segment["time_base"])
    if num < 1 or den < 1:
        raise ValueError(f"time_base {num}/{den}")
    sizes = [int(segment[name]) for name in ("length", "width", "height", "frames", "packets")]
    if min(sizes) < 0 or max(sizes) >= _TOO_LARGE:
        raise ValueError("a size that none can have")
    rotation = int(segment["rotation"])
    if rotation not in (0, 90, 180, 270):
        raise ValueError(f"rotation {rotation}")
    etag = segment.get("etag")
    info = SegmentInfo(
        uri=_absolute(segment["uri"], index_uri),
        length=sizes[0],
        etag=None if etag is None else str(etag),
        container=str(segment["container"]),
        codec=str(segment["codec"]),
        codec_tag=str(segment.get("codec_tag", "")),
        extradata=base64.b64decode(segment["extradata"], validate=True),
        time_base=Fraction(num, den),
        width=sizes[1],
        height=sizes[2],
        pixel_format=str(segment["pixel_format"]),
        colorspace=_small(segment.get("colorspace", 2)),
        color_range=_small(segment.get("color_range", 0)),
        rotation=rotation,
        addressable=bool(segment["addressable"]),
        lookahead_packets=_small(segment.get("lookahead_packets", 0)),
        bits_per_coded_sample=_small(segment.get("bits_per_coded_sample", 0)),
        cut_short=bool(segment.get("cut_short", False)),
        reorder_depth=min(_small(segment.get("reorder_depth", 0)), 16),
        stream_index=_stream_index(segment.get("stream_index")),
        verified=_verified(segment.get("verified")),
        repeated_times=_count(segment.get("repeated_times", 0)),
        restartable=segment.get("restartable") is True,
        start_headers=_start_headers(segment.get("start_headers", [])),
        header=StreamHeader.from_json(segment.get("header")),
        reader_version=min(int(segment.get("reader_version", 1)), READER_VERSION),
        untimed=_untimed(segment.get("untimed", [])),
        rotation_by_frame=segment.get("rotation_by_frame") is True,
        palettes=_palettes(segment.get("palettes") or ()),
        alpha=str(segment.get("alpha") or ALPHA_UNKNOWN),
        alpha_packets=base64.b64decode(segment.get("alpha_packets") or "", validate=True),
    )
    crc = segment.get("columns_crc32")
    return SegmentEntry(info, sizes[3], sizes[4], None if crc is None else int(crc))


def _palettes(value: Any) -> tuple[tuple[int, bytes], ...]:
    palettes = tuple((int(first), base64.b64decode(data, validate=True)) for first, data in value)
    if len(palettes) > MAX_PALETTES or any(len(data) != PALETTE_BYTES for _, data in palettes):
        raise ValueError(f"{len(palettes)} palettes")
    if any(first >= after for (first, _), (after, _) in pairwise(palettes)):
        raise ValueError("palettes that do not follow one another")
    return palettes


def _stream_index(value: Any) -> int | None:
    if value is None:
        return None
    number = int(value)
    if not 0 <= number < _TOO_MANY_STREAMS:
        raise ValueError(f"stream_index {number}")
    return number


def _start_headers(value: Any) -> tuple[tuple[int, bytes], ...]:
    if not isinstance(value, list) or len(value) > _MAX_START_HEADERS:
        raise ValueError("start_headers that no segment can have")
    entries = tuple((int(packet), base64.b64decode(headers, validate=True)) for packet, headers in value)
    numbers = [packet for packet, _ in entries]
    if numbers != sorted(set(numbers)) or min(numbers, default=0) < 0:
        raise ValueError("start_headers whose packets do not ascend")
    if sum(len(headers) for _, headers in entries) > _MAX_START_HEADERS_BYTES:
        raise ValueError("start_headers that are too long")
    return entries


def _verified(value: Any) -> str:
    return value if value in (DECODED, SPARSE) else FULL


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number < _TOO_LARGE:
        raise ValueError(f"expected a count, found {number}")
    return number


def _untimed(value: Any) -> tuple[int, ...]:
    ticks = tuple(int(tick) for tick in value)
    if any(not -_TOO_LARGE < tick < _TOO_LARGE for tick in ticks) or sorted(set(ticks)) != list(ticks):
        raise ValueError("times of untimed frames that do not ascend")
    return ticks


def _small(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= 255:
        raise ValueError(f"expected a number from 0 to 255, found {number}")
    return number


def _relative(uri: str, index_uri: str) -> str | None:
    """Return ``uri`` relative to the directory of the index.

    The video that the index stands next to is None, so that both may be renamed together.
    """
    if index_uri == f"{uri}{_SUFFIX}":
        return None
    if scheme_of(uri) != scheme_of(index_uri):
        return uri
    if scheme_of(uri):
        base = index_uri.rpartition("/")[0] + "/"
        return uri[len(base) :] if uri.startswith(base) else uri
    if posixpath.isabs(uri) != posixpath.isabs(index_uri):
        return uri
    relative = posixpath.relpath(uri, posixpath.dirname(index_uri) or ".")
    return f"./{relative}" if scheme_of(relative) else relative


def _absolute(uri: object, index_uri: str) -> str:
    if uri is None:
        return index_uri.removesuffix(_SUFFIX)
    if not isinstance(uri, str) or not uri:
        raise TypeError(f"uri {uri!r}")
    if scheme_of(uri) or posixpath.isabs(uri):
        return uri
    if scheme_of(index_uri):
        return index_uri.rpartition("/")[0] + "/" + uri
    return posixpath.normpath(posixpath.join(posixpath.dirname(index_uri), uri))


def _invalid(what: str, index_uri: str) -> FrameIndexInvalidError:
    return FrameIndexInvalidError(
        f"the frame index cannot be read: {what}; {WRITE_ANEW}",
        uri=index_uri,
    )
