"""What samples a TIFF file has, by its tags, and which of them keep all bits when they are read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, TiffImagePlugin

from mediaref_ursa._core.errors import UnsupportedMediaError

# TIFF 6.0, section 8: numbers of tags.
_BITS, _PHOTOMETRIC, _COUNT, _PLANAR, _FORMAT = 258, 262, 277, 284, 339
_SEPARATE = 2  # of PlanarConfiguration
_TILE_TAGS = (322, 324)
_PHOTOMETRIC_NAMES = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_FORMAT_NAMES = {1: "unsigned", 2: "signed", 3: "floating-point", 4: "untyped"}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_RGB = 2
_BIG_TIFF = (b"+\0", b"\0+")  # its version, in either byte order


@dataclass(frozen=True)
class TiffSamples:
    """The samples of a TIFF file's first picture.

    Attributes:
        count: Samples a pixel.
        bits: Of the widest sample.
        kind: 1 for unsigned integers, 2 for signed ones, 3 for floating point.
        photometric: What they mean (TIFF 6.0, PhotometricInterpretation).
        is_planar: Whether each sample is stored as a picture of its own.
        is_tiled: Whether the picture is stored in tiles, and not in strips.
        is_big: Whether offsets have 64 bits.
    """

    count: int
    bits: int
    kind: int
    photometric: int
    is_planar: bool
    is_tiled: bool
    is_big: bool

    @classmethod
    def of(cls, header: Image.Image, data: bytes) -> TiffSamples:
        """Return the samples of a TIFF file, whose header Pillow has read."""
        return cls._of_tags(getattr(header, "tag_v2", {}), data)

    @classmethod
    def _of_tags(cls, tags: Any, data: bytes) -> TiffSamples:
        return cls(
            int(tags.get(_COUNT, 1)),
            _max_of(tags.get(_BITS, 1)),
            _max_of(tags.get(_FORMAT, _UNSIGNED)),
            int(tags.get(_PHOTOMETRIC, 0)),
            int(tags.get(_PLANAR, 1)) == _SEPARATE,
            any(tag in tags for tag in _TILE_TAGS),
            data[2:4] in _BIG_TIFF,
        )

    @property
    def are_misread_as_8_bits(self) -> bool:
        """Whether Pillow takes the bytes of samples for samples: of wide ones that are stored one by one."""
        return self.is_planar and self.count > 1 and self.bits > 8

    @property
    def is_unsigned_32(self) -> bool:
        """Whether they are unsigned integers of 32 bits, which Pillow reads into signed ones."""
        return (self.count, self.bits, self.kind) == (1, 32, _UNSIGNED)

    def check_readable(self, uri: str | None) -> None:
        """Check that all bits of the samples can be read.

        Raises:
            UnsupportedMediaError: They can not.
        """
        if self.bits <= 8 and self.kind == _UNSIGNED:
            return
        if self.count == 1 and (self.kind, self.bits) in (
            *((_UNSIGNED, bits) for bits in (12, 16, 32)),
            *((_SIGNED, bits) for bits in (16, 32)),
            (_FLOAT, 32),
        ):
            return
        is_deep_rgb = (self.photometric, self.kind, self.bits) == (_RGB, _UNSIGNED, 16)
        if is_deep_rgb and self.count in (3, 4) and not (self.is_tiled or self.is_big):
            return
        raise UnsupportedMediaError(
            "expected a TIFF file of gray, or of RGB or RGBA of 16 bits in strips, for dtype='native', found "
            f"{self}; ask for dtype='uint8', or convert the file",
            uri=uri,
        )

    def __str__(self) -> str:
        meaning = _PHOTOMETRIC_NAMES.get(self.photometric, f"photometric {self.photometric}")
        kind = _FORMAT_NAMES.get(self.kind, f"format {self.kind}")
        names = {"planar": self.is_planar, "in tiles": self.is_tiled, "BigTIFF": self.is_big}
        how = "".join(f", {name}" for name, has in names.items() if has)
        return f"{self.count} {kind} sample(s) of {self.bits} bits a pixel, {meaning}{how}"


def tiff_samples_of(data: bytes) -> TiffSamples | None:
    """Return the samples of a TIFF file that Pillow cannot open; None if its tags cannot be read."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in _BIG_TIFF else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return TiffSamples._of_tags(tags, data)
    except Exception:  # damaged tags raise whatever their bytes lead to
        return None


def _max_of(value: Any) -> int:
    return int(max(value) if isinstance(value, tuple) else value)
