"""No password of a URL is shown: not in a repr, a message, a log line, a traceback or the name of a file."""

from __future__ import annotations

import copy
import logging
import time
import traceback
from fractions import Fraction
from pathlib import Path

import pytest
from loguru import logger

from mediaref_ursa import LanceFrameIndex, MediaRef, MediaRefError, batch_decode
from mediaref_ursa._core.redaction import redact, without_credentials
from mediaref_ursa._index.writer import IndexTarget
from mediaref_ursa._model.index_metadata import recorded_uri
from mediaref_ursa._model.segment import SegmentInfo
from mediaref_ursa._video.source import VideoSource
from mediaref_ursa.layout import frame_index_name
from mediaref_ursa.store import HttpStore, LocalStore, ObjectInfo
from mediaref_ursa.store._cached import object_key
from mediaref_ursa.store._location import Location

URLS = (
    "http://me:s3cret@127.0.0.1:1/v.mp4",
    "http://me:s3cret/x@127.0.0.1:1/v.mp4",
    "http://me:x?s3cret@127.0.0.1:1/v.mp4",
    "http://me:x#s3cret@127.0.0.1:1/v.mp4",
    "http://me:x@s3cret@127.0.0.1:1/v.mp4",
    "http://s3cret@127.0.0.1:1/v.mp4",
    " http://me:s3cret@127.0.0.1:1/v.mp4",
    "\nHTTP://me:s3cret@127.0.0.1:1/v.mp4",
    "http:/me:s3cret@127.0.0.1:1/v.mp4",
    "//me:s3cret@127.0.0.1:1/v.mp4",
    "simplecache::http://me:s3cret@127.0.0.1:1/v.mp4",
    "s3://me:se/s3cret@bucket/v.mp4",
)
urls = pytest.mark.parametrize("url", URLS)


@urls
def test_texts_about_a_url(url: str) -> None:
    for text in (
        redact(url),
        repr(LanceFrameIndex._of(url, file=None)),
        repr(MediaRef(url, 5)),
        str(MediaRef(url)),
        recorded_uri(url),
        frame_index_name(url),
        repr(object_key(url, ObjectInfo(1, '"tag"', None))),
        repr(IndexTarget(Location(url, None, {"secret": "s3cret"}), None)),
        repr(VideoSource(url, LocalStore(), ())),
        repr(_segment_info(url)),
        str(MediaRefError("what", uri=url)),
    ):
        assert "s3cret" not in text


def _segment_info(url: str) -> SegmentInfo:
    return SegmentInfo(url, 1, None, "mov", "h264", "", b"", Fraction(1, 25), 2, 2, "yuv420p", 2, 0, 0, True)


@pytest.mark.parametrize("url", [url for url in URLS if not url.startswith("s3:")])
@pytest.mark.parametrize("pts_ns", [0, None])
def test_errors_and_log_lines(url: str, pts_ns: int | None) -> None:
    lines: list[str] = []
    is_web = url.strip().lower().startswith("http://")
    options = {"store": HttpStore(deadline_seconds=0.3)} if is_web else {}
    sink = logger.add(lines.append, level="DEBUG", format="{message} {exception}", backtrace=False)
    logger.enable("mediaref_ursa")
    try:
        with pytest.raises(MediaRefError) as caught:
            batch_decode([MediaRef(url, pts_ns)], **options)
    finally:
        logger.remove(sink)
    assert "s3cret" not in "".join([str(caught.value), repr(caught.value), *lines])
    assert "s3cret" not in "".join(traceback.format_exception(copy.copy(caught.value)))


def test_queries_behind_a_blank() -> None:
    assert redact(" http://host/v.mp4?sig=s3cret") == " http://host/v.mp4"


@pytest.mark.parametrize(
    "text",
    [
        "takes/a@b.mp4",
        "me@host.mp4",
        "C:/a@b.mp4",
        "C://a@b.mp4",
        "http://host:8080/a@b.mp4",
        "http://[::1]:80/a@b",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert redact(text) == without_credentials(text) == text


def test_long_texts_take_no_time() -> None:
    begin = time.monotonic()
    for text in ("a" * 500_000, "http:" * 50_000, "a://" * 50_000, "@:/" * 50_000):
        without_credentials(text)
        redact(text)
    assert time.monotonic() - begin < 20


def test_a_log_of_the_standard_library_is_as_silent(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(MediaRefError):
        batch_decode([MediaRef(URLS[0], 0)], store=HttpStore(deadline_seconds=0.3))
    assert "s3cret" not in caplog.text
