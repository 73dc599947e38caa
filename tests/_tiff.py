"""TIFF files of any samples, in strips or tiles, as Pillow and FFmpeg do not write them."""

from __future__ import annotations

import struct

import numpy as np

_SHORT, _LONG = 3, 4
_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(
    pixels: np.ndarray,
    photometric: int,
    *,
    tile: int | None = None,
    is_planar: bool = False,
    is_big: bool = False,
    extra: int | None = None,
) -> bytes:
    """Return a little-endian file of ``(H, W)`` or ``(H, W, C)``, not compressed.

    Args:
        pixels: Their type gives bits and sample format.
        photometric: 1 for gray, 2 for RGB, 5 for CMYK.
        tile: The size of square tiles; one strip without it.
        is_planar: Each sample is a picture of its own.
        is_big: A BigTIFF file.
        extra: 1 for associated alpha, 2 for unassociated alpha in the last sample.
    """
    height, width, count = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    samples = pixels.reshape(height, width, count).astype(pixels.dtype.newbyteorder("<"))
    planes = [samples[..., number : number + 1] for number in range(count)] if is_planar else [samples]
    parts = [part for plane in planes for part in _parts(plane, tile)]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (_SHORT, [width]),
        257: (_SHORT, [height]),
        258: (_SHORT, [8 * pixels.dtype.itemsize] * count),
        259: (_SHORT, [1]),
        262: (_SHORT, [photometric]),
        277: (_SHORT, [count]),
        284: (_SHORT, [2 if is_planar else 1]),
        339: (_SHORT, [_FORMATS[pixels.dtype.kind]] * count),
    }
    if extra is not None:
        tags[338] = (_SHORT, [extra])
    if tile is None:
        tags[278] = (_SHORT, [height])
    else:
        tags[322] = tags[323] = (_SHORT, [tile])
    offsets, sizes = (273, 279) if tile is None else (324, 325)
    begin = 16 if is_big else 8
    at = np.cumsum([begin, *(len(part) for part in parts)]).tolist()
    tags[offsets] = (_LONG, at[:-1])
    tags[sizes] = (_LONG, [len(part) for part in parts])
    return _header(at[-1], is_big=is_big) + b"".join(parts) + _directory(tags, at[-1], is_big=is_big)


def _parts(plane: np.ndarray, tile: int | None) -> list[bytes]:
    if tile is None:
        return [plane.tobytes()]
    height, width = (-(-size // tile) * tile for size in plane.shape[:2])
    padded = np.zeros((height, width, plane.shape[2]), plane.dtype)
    padded[: plane.shape[0], : plane.shape[1]] = plane
    return [
        padded[top : top + tile, left : left + tile].tobytes()
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]


def _header(directory: int, *, is_big: bool) -> bytes:
    return (
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)
        if is_big
        else struct.pack("<2sHI", b"II", 42, directory)
    )


def _directory(tags: dict[int, tuple[int, list[int]]], at: int, *, is_big: bool) -> bytes:
    count, offset, inline = ("<Q", "<Q", 8) if is_big else ("<H", "<I", 4)
    entry = "<HHQ" if is_big else "<HHI"
    size = struct.calcsize(count) + len(tags) * (struct.calcsize(entry) + inline) + struct.calcsize(offset)
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        data = struct.pack(f"<{len(numbers)}{'H' if kind == _SHORT else 'I'}", *numbers)
        if len(data) > inline:
            place = at + size + len(values)
            values += data + bytes(len(data) % 2)
            data = struct.pack(offset, place)
        entries += struct.pack(entry, tag, kind, len(numbers)) + data.ljust(inline, b"\0")
    return struct.pack(count, len(tags)) + entries + struct.pack(offset, 0) + values
