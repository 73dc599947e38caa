"""What references may lead to, as a value: nothing here reads anything."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from mediaref_ursa import IndexLimits, InvalidReferenceError, LimitExceededError, UnsupportedMediaError
from mediaref_ursa._model.access import DEFAULT_SCHEMES, OPTION_NAMES, TRUSTED, Access


def test_untrusted_moves_the_defaults() -> None:
    trusted, untrusted = Access(), Access(untrusted=True)
    assert (trusted.private_hosts, untrusted.private_hosts) == (True, False)
    assert (trusted.scan_limits, untrusted.scan_limits) == (None, IndexLimits())
    assert Access(untrusted=True, allow_private_hosts=True).private_hosts
    assert not Access(allow_private_hosts=False).private_hosts
    assert Access(index_limits=IndexLimits(max_seconds=1)).scan_limits == IndexLimits(max_seconds=1)


def test_it_is_a_value() -> None:
    one = Access(untrusted=True, allow_schemes=["HTTPS://", "file:"])  # type: ignore[arg-type]
    assert one == Access(untrusted=True, allow_schemes=frozenset({"file", "https"}))
    assert len({one, pickle.loads(pickle.dumps(one))}) == 1


def test_options_are_taken_out_of_others() -> None:
    options: dict[str, Any] = {"resize": (2, 2), "untrusted": True, "max_pixels": 5}
    assert Access.from_options(options) == Access(untrusted=True, max_pixels=5)
    assert options == {"resize": (2, 2)}
    with pytest.raises(
        TypeError, match=r"f\(\) got unexpected options resize; besides its own it takes untr"
    ):
        Access.from_only_options("f", options)
    assert Access.from_only_options("f", {}) == TRUSTED
    assert set(OPTION_NAMES) == set(Access.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"untrusted": "yes"}, TypeError, "untrusted to be True or False"),
        ({"untrusted": 1}, TypeError, "untrusted"),
        ({"allow_private_hosts": "no"}, TypeError, "allow_private_hosts"),
        ({"allow_schemes": "https"}, TypeError, "use a set"),
        ({"allow_schemes": [5]}, TypeError, "each of allow_schemes"),
        ({"max_redirects": -1}, ValueError, "max_redirects of 0 or more, found -1"),
        ({"max_redirects": True}, TypeError, "max_redirects"),
        ({"max_pixels": 0}, ValueError, "max_pixels of 1 or more"),
        ({"max_pixels": 1.5}, TypeError, "max_pixels to be a whole number"),
        ({"max_data_uri_bytes": None}, TypeError, "max_data_uri_bytes"),
        ({"index_limits": {"max_seconds": 5}}, TypeError, "index_limits to be an IndexLimits"),
        ({"base_dir": 5}, TypeError, "os.PathLike"),
    ],
)
def test_a_wrong_value_is_told(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Access(**options)


@pytest.mark.parametrize("name", ["max_seconds", "max_memory_bytes", "max_packets"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "5", True])
def test_a_limit_is_a_positive_number(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"expected {name} above 0"):
        IndexLimits(**{name: value})


class TestSchemes:
    @pytest.mark.parametrize(
        "uri", ["a.mp4", "/a", "file:///a", "http://h/a", "HTTPS://h/a", "s3://b/a", "data:,"]
    )
    def test_served_by_default(self, uri: str) -> None:
        TRUSTED.check_scheme(uri)
        Access(untrusted=True).check_scheme(uri)

    @pytest.mark.parametrize("uri", ["rtsp://h/a", "ftp://h/a", "pipe://1", "subfile://a", "tcp://h:1"])
    def test_refused_by_default(self, uri: str) -> None:
        with pytest.raises(InvalidReferenceError, match="no store serves the scheme.*unless allow_schemes="):
            TRUSTED.check_scheme(uri)
        Access(allow_schemes={uri.partition(":")[0]}).check_scheme(uri)  # type: ignore[arg-type]

    def test_a_list_leaves_out_what_it_does_not_name(self) -> None:
        only = Access(allow_schemes={"https"})  # type: ignore[arg-type]
        only.check_scheme("https://h/a")
        for uri in ("http://h/a", "a.mp4", "file:///a.mp4", "data:,x", "s3://b/a"):
            with pytest.raises(InvalidReferenceError, match="expected a path or one of https://; no store"):
                only.check_scheme(uri)

    def test_a_store_of_the_callers_serves_any_scheme_that_a_list_does_not_leave_out(self) -> None:
        TRUSTED.check_scheme("recordings://a", has_own_store=True)
        with pytest.raises(InvalidReferenceError):
            Access(allow_schemes={"https"}).check_scheme(  # type: ignore[arg-type]
                "recordings://a", has_own_store=True
            )

    def test_a_base_directory_keeps_untrusted_references_on_this_machine(self) -> None:
        for uri in ("https://h/a", "s3://b/a"):
            Access(base_dir="/data").check_scheme(uri)
            Access(base_dir="/data", untrusted=True, allow_outside_base=True).check_scheme(uri)
            Access(base_dir="/data", untrusted=True, allow_schemes=DEFAULT_SCHEMES).check_scheme(uri)
            with pytest.raises(InvalidReferenceError, match="within base_dir.*allow_schemes="):
                Access(base_dir="/data", untrusted=True).check_scheme(uri)
        Access(base_dir="/data", untrusted=True).check_scheme("data:image/png,x")


class TestSegments:
    VIDEOS = ("/data/rec/video.mp4", "https://host/rec/video.mp4?sig=1", "s3://bucket/rec/video.mp4")

    @pytest.mark.parametrize("video", VIDEOS)
    def test_beside_the_video_and_below(self, video: str) -> None:
        folder = video.rpartition("/")[0]
        for segment in (video, f"{folder}/a.mp4", f"{folder}/parts/0.mp4"):
            Access(untrusted=True).check_segment(video, segment)

    @pytest.mark.parametrize("video", VIDEOS)
    @pytest.mark.parametrize(
        "segment",
        [
            *("file:///etc/passwd", "/etc/passwd", "/data/recent/a.mp4", "/data/rec/../a.mp4", "/data/rec"),
            *("https://other/rec/a.mp4", "https://host/a.mp4", "https://host/rec/../a.mp4"),
            *("https://host/rec/%2E%2e/a.mp4", "https://host:444/rec/a.mp4", "https://host@evil/rec/a.mp4"),
            *("http://host/rec/a.mp4", "s3://other/rec/a.mp4", "s3://bucket/a.mp4"),
        ],
    )
    def test_elsewhere(self, video: str, segment: str) -> None:
        with pytest.raises(InvalidReferenceError, match=r"names a file outside it.*allow_outside_base=True"):
            Access(untrusted=True).check_segment(video, segment)
        TRUSTED.check_segment(video, segment)
        Access(untrusted=True, allow_outside_base=True).check_segment(video, segment)

    def test_a_scheme_that_is_not_served(self) -> None:
        with pytest.raises(InvalidReferenceError, match="rtsp"):
            TRUSTED.check_segment("/data/a.mp4", "rtsp://host/a.mp4")


def test_pixels() -> None:
    Access(max_pixels=100).check_pixels(10, 10, "a")
    with pytest.raises(
        LimitExceededError, match="at most 100 pixels, found 101x1; allow more with max_pixels="
    ):
        Access(max_pixels=100).check_pixels(101, 1, "a")


def test_a_video_in_a_data_uri() -> None:
    with pytest.raises(UnsupportedMediaError, match="those are images only"):
        TRUSTED.check_video_uri("data:video/mp4;base64,AAAA")
    TRUSTED.check_video_uri("a.mp4")


def test_frames_that_a_file_cannot_hold() -> None:
    TRUSTED.check_frame_count(100, 100, "a")
    with pytest.raises(LimitExceededError, match="at most 100 frames"):
        TRUSTED.check_frame_count(101, 100, "a")
    few = Access(untrusted=True, index_limits=IndexLimits(max_packets=50))
    with pytest.raises(LimitExceededError, match=r"at most 50 frames.*IndexLimits\(max_packets=\)"):
        few.check_frame_count(51, 100, "a")
