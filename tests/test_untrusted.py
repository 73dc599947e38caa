"""References that somebody else wrote: what is refused, and the named option that opens it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from _http_server import Fault, ObjectServer
from _media import Clip
from _oracle import linear_frames
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

import mediaref_ursa
from mediaref_ursa import (
    FrameIndexInvalidError,
    InvalidReferenceError,
    LanceFrameIndex,
    LazyVideo,
    LimitExceededError,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    plan_decode,
    write_frame_index,
)
from mediaref_ursa.catalog import ModalityRow, open_modality
from mediaref_ursa.store import FsspecStore, MemoryStore, store_for
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
Read = Callable[..., npt.NDArray[np.uint8]]


def by_batch(uri: str, **options: Any) -> Any:
    return batch_decode([MediaRef(uri, 0)], **options)[0]


def by_batch_image(uri: str, **options: Any) -> Any:
    return batch_decode([MediaRef(uri)], **options)[0]


def by_plan(uri: str, **options: Any) -> Any:
    return plan_decode([MediaRef(uri, 0)], **options)


def by_reference(uri: str, **options: Any) -> Any:
    return MediaRef(uri, 0).to_ndarray(**options)


def by_image(uri: str, **options: Any) -> Any:
    return MediaRef(uri).to_ndarray(**options)


def by_pil_image(uri: str, **options: Any) -> Any:
    return MediaRef(uri).to_pil_image(**options)


def by_lazy_video(uri: str, **options: Any) -> Any:
    return LazyVideo(uri, **options)[0]


def by_lazy_from_uri(uri: str, **options: Any) -> Any:
    return LazyVideo.from_uri(uri, **options)[0]


def by_lazy_from_refs(uri: str, **options: Any) -> Any:
    return LazyVideo.from_refs([MediaRef(uri, 0)], **options)[0][0]


def by_decoder(uri: str, **options: Any) -> Any:
    return PyAVVideoDecoder(uri, **options)[0]


def by_catalog(uri: str, **options: Any) -> Any:
    return open_modality(ModalityRow(name="a", format="video", uri=uri), **options)[0]


VIDEO_WAYS = [
    *(by_batch, by_plan, by_reference, by_lazy_video, by_lazy_from_uri, by_lazy_from_refs, by_decoder),
    by_catalog,
]
IMAGE_WAYS = [by_batch_image, by_image, by_pil_image]
both = pytest.mark.parametrize("way", VIDEO_WAYS + IMAGE_WAYS, ids=lambda way: way.__name__)
of_videos = pytest.mark.parametrize("way", VIDEO_WAYS, ids=lambda way: way.__name__)
of_images = pytest.mark.parametrize("way", IMAGE_WAYS, ids=lambda way: way.__name__)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, clips_dir: Path) -> dict[Any, bytes]:
    """The bytes of a video and of an image, by the way that reads them."""
    from _media import make_clip

    picture = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.new("RGB", (12, 8), (10, 200, 30)).save(picture)
    video = make_clip("h264_idr_mp4", clips_dir).read_bytes()
    return {**dict.fromkeys(VIDEO_WAYS, video), **dict.fromkeys(IMAGE_WAYS, picture.read_bytes())}


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    mediaref_ursa.cleanup_cache()


class Attic(MemoryFileSystem):
    """A file system that this library does not serve by itself."""

    protocol = "attic"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("attic://").strip("/")


class TestSchemes:
    @both
    @pytest.mark.parametrize(
        "uri", ["rtsp://host/a", "ftp://host/a", "pipe://0", "subfile://x", "tcp://host:80", "zip://a.zip"]
    )
    def test_others_are_refused(self, way: Read, uri: str) -> None:
        with pytest.raises(InvalidReferenceError, match="no store serves.*allow_schemes="):
            way(uri)

    @both
    def test_a_list_leaves_out_what_it_does_not_name(
        self, way: Read, files: dict[Any, bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(files[way])
        for uri in (str(path), path.as_uri()):
            with pytest.raises(InvalidReferenceError, match="'file' here, unless allow_schemes= names it"):
                way(uri, allow_schemes={"https", "data"})
            way(uri, allow_schemes=["FILE://"])

    @both
    def test_one_that_fsspec_knows_is_opened_by_its_name(self, way: Read, files: dict[Any, bytes]) -> None:
        fsspec.register_implementation("attic", Attic, clobber=True)
        place = f"attic://{way.__name__}.bin"
        Attic().pipe(place, files[way])
        with pytest.raises(InvalidReferenceError, match="allow_schemes="):
            way(place)
        way(place, allow_schemes={"attic"})

    def test_only_the_named_one_is_opened(self) -> None:
        from mediaref_ursa._model.access import Access

        access = Access(allow_schemes={"sftp"})  # type: ignore[arg-type]
        assert store_for("sftp://host/a", access=access) == FsspecStore("sftp")
        with pytest.raises(InvalidReferenceError):
            store_for("ftp://host/a", access=access)

    def test_asking_whether_something_is_there(self, files: dict[Any, bytes]) -> None:
        with ObjectServer({"/a.png": files[by_image]}) as server:
            reference = MediaRef(server.url("/a.png"))
            assert reference.validate_uri()
            with pytest.raises(InvalidReferenceError, match="allow_private_hosts=True"):
                reference.validate_uri(untrusted=True)
            assert len(server.seen) == 1
        with pytest.raises(InvalidReferenceError, match="allow_schemes="):
            MediaRef("data:,x").validate_uri(allow_schemes={"https"})
        with pytest.raises(TypeError, match="unexpected options resize"):
            reference.validate_uri(resize=5)


class TestHosts:
    @both
    def test_private_ones_are_refused_to_those_who_are_not_trusted(
        self, way: Read, files: dict[Any, bytes]
    ) -> None:
        with ObjectServer({"/a.bin": files[way]}) as server:
            uri = server.url("/a.bin")
            way(uri)
            server.seen.clear()
            for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"):
                with pytest.raises(MediaRefError) as caught:
                    way(uri.replace("127.0.0.1", host), untrusted=True)
                assert isinstance(caught.value, InvalidReferenceError), caught.value
                assert "allow_private_hosts=True" in str(caught.value)
            with pytest.raises(InvalidReferenceError, match="allow_private_hosts=True"):
                way(uri, allow_private_hosts=False)
            assert server.seen == []
            way(uri, untrusted=True, allow_private_hosts=True)

    @both
    def test_redirects_are_counted(self, way: Read, files: dict[Any, bytes]) -> None:
        with ObjectServer({"/a.bin": files[way]}) as server:
            uri = server.url("/a.bin")
            server.always = Fault(status=302, headers={"Location": uri})
            with pytest.raises(StoreError, match="at most 5 redirects"):
                way(uri)
            with pytest.raises(StoreError, match="at most 0 redirects"):
                way(uri, max_redirects=0)
            server.always = None
            server.fail_next(*[Fault(status=302, headers={"Location": uri})] * 5)
            way(uri)
            server.fail_next(*[Fault(status=302, headers={"Location": uri})] * 7)
            way(uri, max_redirects=7)


class TestBaseDirectory:
    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        (tmp_path / "base" / "clips").mkdir(parents=True)
        return tmp_path / "base"

    @both
    def test_nothing_leads_out(self, way: Read, files: dict[Any, bytes], base: Path) -> None:
        outside = base.parent / "secret.bin"
        for place in (outside, base / "clips" / "a.bin"):
            place.write_bytes(files[way])
        (base / "link.bin").symlink_to(outside)
        (base / "folder").symlink_to(base.parent)
        (base / "inside.bin").symlink_to(base / "clips" / "a.bin")
        inside = base / "clips" / "a.bin"
        for uri in ("clips/a.bin", "inside.bin", "clips/../clips/a.bin", str(inside), inside.as_uri()):
            way(uri, base_dir=base)
            way(uri, base_dir=base, untrusted=True)
        for uri in (
            *("../secret.bin", "clips/../../secret.bin", "link.bin", "folder/secret.bin"),
            *(str(outside), outside.as_uri(), f"file:{outside}", f"file://{base}/%2E%2E/secret.bin"),
        ):
            with pytest.raises(InvalidReferenceError, match="leads out of it.*allow_outside_base=True"):
                way(uri, base_dir=base)
            way(uri, base_dir=base, allow_outside_base=True)

    @both
    def test_only_regular_files(self, way: Read, base: Path) -> None:
        os.mkfifo(base / "fifo.bin")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(base / "socket.bin"))
            for uri in ("fifo.bin", "socket.bin", "clips", ".", "/dev/zero"):
                with pytest.raises((StoreError, InvalidReferenceError)):
                    way(uri, base_dir=base)
                with pytest.raises(StoreError, match="regular file"):
                    way(uri, base_dir=base, allow_outside_base=True)

    @both
    def test_what_is_not_local(self, way: Read, files: dict[Any, bytes], base: Path) -> None:
        with ObjectServer({"/a.bin": files[way]}) as server:
            uri = server.url("/a.bin")
            way(uri, base_dir=base)
            options = {"base_dir": base, "untrusted": True, "allow_private_hosts": True}
            with pytest.raises(InvalidReferenceError, match="leads out of it.*allow_schemes="):
                way(uri, **options)
            way(uri, **options, allow_schemes={"http", "file"})
            way(uri, **options, allow_outside_base=True)

    def test_an_index_beside_a_video_leads_nowhere_else(self, files: dict[Any, bytes], base: Path) -> None:
        secret = base.parent / "secret.mp4"
        for path in (secret, base / "video.mp4", base / "other.mp4"):
            path.write_bytes(files[by_batch])
        for segment, says in ((secret, "leads out"), (base / "other.mp4", None)):
            write_frame_index(base / "video.mp4", segment_uris=[segment], overwrite=True)
            for way in (by_batch, by_lazy_from_uri, by_decoder):
                mediaref_ursa.cleanup_cache()
                if says is None:
                    assert way("video.mp4", base_dir=base).shape
                    continue
                with pytest.raises(InvalidReferenceError, match=says):
                    way("video.mp4", base_dir=base)
                assert way("video.mp4", base_dir=base, allow_outside_base=True).shape


class TestDataUris:
    @of_images
    def test_they_are_measured_first(self, way: Read, files: dict[Any, bytes]) -> None:
        data = files[way]
        for uri in (
            "data:image/png;base64," + base64.b64encode(data).decode(),
            "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
        ):
            with pytest.raises(
                LimitExceededError, match=f"at most {len(data) - 1} bytes.*max_data_uri_bytes="
            ):
                way(uri, max_data_uri_bytes=len(data) - 1)
            way(uri, max_data_uri_bytes=len(data), untrusted=True)

    def test_the_default_is_64_mib(self) -> None:
        with pytest.raises(LimitExceededError, match="at most 67108864 bytes"):
            by_image("data:image/png;base64," + "A" * (64 * 2**20 * 4 // 3 + 8))

    @of_videos
    @pytest.mark.parametrize("options", [{}, {"untrusted": True}, {"max_data_uri_bytes": 2**40}])
    def test_videos_are_never_decoded(self, way: Read, options: Any, files: dict[Any, bytes]) -> None:
        with pytest.raises(UnsupportedMediaError, match="found a data URI: those are images only"):
            way("data:video/mp4;base64," + base64.b64encode(files[way]).decode(), **options)

    @of_images
    def test_nor_as_images(self, way: Read, files: dict[Any, bytes]) -> None:
        with pytest.raises(UnsupportedMediaError, match="media type of an image"):
            way("data:video/mp4;base64,AAAA")


class TestPixels:
    @both
    def test_more_than_allowed(
        self, way: Read, files: dict[Any, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(files[way])
        pixels = 96 * 64 if way in VIDEO_WAYS else 12 * 8
        for options in ({}, {"untrusted": True}):
            with pytest.raises(LimitExceededError, match=f"at most {pixels - 1} pixels.*max_pixels="):
                way(str(path), max_pixels=pixels - 1, **options)
            way(str(path), max_pixels=pixels, **options)

    @of_videos
    def test_with_an_index_too(self, way: Read, files: dict[Any, bytes], tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_bytes(files[way])
        write_frame_index(path)
        with pytest.raises(LimitExceededError, match="max_pixels="):
            way(str(path), max_pixels=96 * 64 - 1)

    @of_images
    def test_8k_is_the_default(self, way: Read, tmp_path: Path) -> None:
        Image.new("1", (8000, 4148)).save(tmp_path / "large.png")
        with pytest.raises(
            LimitExceededError, match=r"at most 33177600 pixels, found 8000x4148.*max_pixels="
        ):
            way(str(tmp_path / "large.png"))
        way(str(tmp_path / "large.png"), max_pixels=8000 * 4148)


SCRIPTS = {
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile '{secret}'\n",
    "concat": b"concat:{secret}|{secret}",
    "subfile": b"subfile,,start,0,end,0,,:{secret}",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "mpd": b"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>",
    "text": b"just some text\n" * 60,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='{secret}'/></svg>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
}
NAMES = ("video.mp4", "video.mkv", "a.m3u8", "a.ffconcat", "picture.png", "img%03d.png", "a.sdp", "noname")


class TestScripts:
    @pytest.mark.parametrize("script", SCRIPTS)
    def test_under_any_name(self, script: str, files: dict[Any, bytes], tmp_path: Path) -> None:
        secret = tmp_path / "secret.mp4"
        secret.write_bytes(files[by_batch])
        for name in NAMES:
            path = tmp_path / name
            path.write_bytes(SCRIPTS[script].replace(b"{secret}", str(secret).encode()))
            for way in (by_batch, by_lazy_video, by_decoder, by_image):
                with pytest.raises(UnsupportedMediaError, match="expected (a video|an image)"):
                    way(str(path))
        for way in (by_batch, by_lazy_video, by_decoder, by_image):
            with pytest.raises(UnsupportedMediaError, match="expected (a video|an image)"):
                way(str(path), untrusted=True)

    @both
    @pytest.mark.parametrize(
        "uri",
        [
            *(
                "concat:{secret}|{secret}",
                "subfile,,start,0,end,0,,:{secret}",
                "cache:{secret}",
                "async:{secret}",
            ),
            *("crypto:{secret}", "data:video/mp4,x", "pipe:0", "fd:0", "lavfi:testsrc", "hls+{secret}"),
            *("{folder}/img%03d.png", "{folder}/*.png", "{secret}|{secret}", "http:{secret}", "@{secret}"),
        ],
    )
    def test_protocols_and_patterns(
        self, way: Read, uri: str, files: dict[Any, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "secret.bin").write_bytes(files[way])
        for number in range(3):
            (tmp_path / f"img{number:03d}.png").write_bytes(files[by_image])
        with pytest.raises((StoreError, UnsupportedMediaError, InvalidReferenceError)):
            way(uri.format(secret=tmp_path / "secret.bin", folder=tmp_path))

    def test_a_movie_that_points_at_another_file(self, files: dict[Any, bytes], tmp_path: Path) -> None:
        """QuickTime's data references name files outside; FFmpeg is not to open them."""
        data = bytearray(files[by_batch])
        at = data.find(b"url \0\0\0\x01")
        assert at > 0
        data[at : at + 8] = b"alis\0\0\0\0"  # not in this file
        path = tmp_path / "a.mov"
        path.write_bytes(data)
        for way in (by_batch, by_lazy_video):
            try:
                way(str(path), untrusted=True)
            except MediaRefError:
                continue


class TestIndexes:
    @pytest.fixture
    def video(self, files: dict[Any, bytes], tmp_path: Path) -> Path:
        path = tmp_path / "rec" / "video.mp4"
        path.parent.mkdir()
        path.write_bytes(files[by_batch])
        return path

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            *(("offset", -5), ("offset", 2**62), ("offset", 2**63 - 1), ("size", -1), ("size", 2**40)),
            *(("size", 2**63 - 1), ("decode_idx", 99_999), ("decode_idx", -1), ("decode_idx", 6)),
            *(("start_decode_idx", 47), ("start_decode_idx", -3), ("pts", -(2**63)), ("pts", 2**62)),
            *(("pts", 0), ("duration", -1), ("duration", 2**63 - 1), ("segment_idx", 7), ("segment_idx", -1)),
        ],
    )
    @pytest.mark.parametrize("untrusted", [False, True])
    def test_hostile_rows(self, column: str, value: int, untrusted: bool, video: Path) -> None:
        write_frame_index(video)
        doctor(video, lambda table: with_value(table, column, 5, value))
        expected = linear_frames(video)[0].rgb
        mediaref_ursa.cleanup_cache()
        found = batch_decode([MediaRef(str(video), 0)], untrusted=untrusted)  # scanned instead
        assert np.array_equal(found[0], expected)
        with pytest.raises(MediaRefError):
            batch_decode([MediaRef(str(video), 0)], frame_index=str(video), untrusted=untrusted)
        with pytest.raises(MediaRefError):
            LazyVideo(video, frame_index=str(video), untrusted=untrusted)[:]

    @pytest.mark.parametrize("untrusted", [False, True])
    def test_rows_in_another_order_and_too_few(self, untrusted: bool, video: Path) -> None:
        expected = linear_frames(video)[0].rgb
        for change in (
            lambda table: table.take(list(reversed(range(table.num_rows)))),
            lambda table: table.slice(1),
            lambda table: pa.concat_tables([table, table.slice(0, 1)]),
        ):
            write_frame_index(video, overwrite=True)
            doctor(video, change)
            mediaref_ursa.cleanup_cache()
            found = batch_decode([MediaRef(str(video), 0)], untrusted=untrusted)
            assert np.array_equal(found[0], expected)
            with pytest.raises(FrameIndexInvalidError):
                LanceFrameIndex.open(video).segment_table(0)

    @pytest.mark.parametrize(
        "changes",
        [
            *({"frames": 2**61}, {"packets": 2**61}, {"frames": -1}, {"length": 2**62}, {"length": 10**15}),
            *({"width": 10**6, "height": 10**6}, {"time_base": [0, 1]}, {"time_base": [1, 0]}),
            *(
                {"codec": "concat"},
                {"extradata": "!"},
                {"rotation": 45},
                {"container": "hls", "addressable": False},
            ),
        ],
    )
    def test_hostile_counts_and_words(self, changes: dict[str, Any], video: Path) -> None:
        write_frame_index(video)
        tell(video, **changes)
        for untrusted in (False, True):
            mediaref_ursa.cleanup_cache()
            try:
                found = batch_decode([MediaRef(str(video), 0)], untrusted=untrusted)[0]
            except MediaRefError:
                continue
            assert np.array_equal(found, linear_frames(video)[0].rgb)

    @pytest.mark.parametrize(
        "segment",
        ["file:///etc/passwd", "/etc/passwd", "../secret.mp4", "http://127.0.0.1:9/a.mp4", "s3://b/a.mp4"],
    )
    @pytest.mark.parametrize("way", [by_batch, by_lazy_from_uri, by_decoder], ids=lambda way: way.__name__)
    def test_files_elsewhere(self, way: Read, segment: str, video: Path) -> None:
        shutil.copy(video, video.parent.parent / "secret.mp4")
        write_frame_index(video)
        tell(video, uri=segment)
        with pytest.raises(InvalidReferenceError, match="names a file outside it.*allow_outside_base=True"):
            way(str(video), untrusted=True)
        try:
            way(str(video), untrusted=True, allow_outside_base=True)
        except (MediaRefError, OSError) as error:
            assert segment != "../secret.mp4", error

    def test_a_link_beside_the_video(self, video: Path) -> None:
        secret = Path(shutil.copy(video, video.parent.parent / "secret.mp4"))
        (video.parent / "part.mp4").symlink_to(secret)
        write_frame_index(video, segment_uris=[video.parent / "part.mp4"])
        assert by_batch(str(video)).shape
        with pytest.raises(InvalidReferenceError, match="leads out"):
            by_batch(str(video), untrusted=True)
        assert by_batch(str(video), untrusted=True, allow_outside_base=True).shape

    def test_files_beside_the_video(self, video: Path) -> None:
        parts = [Path(shutil.copy(video, video.parent / f"part{number}.mp4")) for number in range(2)]
        write_frame_index(video, segment_uris=parts)
        for way in (by_batch, by_lazy_from_uri, by_decoder):
            assert way(str(video), untrusted=True).shape

    def test_an_index_of_the_callers_is_held_to_the_same(self, video: Path) -> None:
        shutil.copy(video, video.parent.parent / "secret.mp4")
        write_frame_index(video, segment_uris=[video.parent.parent / "secret.mp4"])
        with pytest.raises(InvalidReferenceError, match="names a file outside it"):
            by_batch(str(video), frame_index=str(video), untrusted=True)


def doctor(video: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    lance.write_dataset(changed, place, mode="overwrite")


def with_value(table: pa.Table, column: str, row: int, value: int) -> pa.Table:
    at = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    values[row] = value
    return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))


def tell(video: Path, **changes: Any) -> None:
    """Write other things into what the index says of its segment."""
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    value = json.loads(table.schema.metadata[b"mediaref_ursa"])
    value["segments"][0].update(changes)
    changed = table.replace_schema_metadata({b"mediaref_ursa": json.dumps(value).encode()})
    lance.write_dataset(changed, place, mode="overwrite")


class TestCacheDirectory:
    @both
    def test_one_that_others_may_write_in(
        self, way: Read, files: dict[Any, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(shared))
        with ObjectServer({"/a.bin": files[way]}) as server:
            with pytest.raises(StoreError, match="only you may write in.*allow_shared_cache_dir=True"):
                way(server.url("/a.bin"))
            way(server.url("/a.bin"), allow_shared_cache_dir=True)
            with pytest.raises(StoreError, match="allow_shared_cache_dir=True"):
                way(server.url("/a.bin"))
        assert list(shared.rglob("objects"))

    def test_it_is_made_for_its_user_alone(
        self, files: dict[Any, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "new" / "cache"))
        with ObjectServer({"/a.bin": files[by_image]}) as server:
            by_image(server.url("/a.bin"))
        made = [tmp_path / "new", *(path for path in (tmp_path / "new").rglob("*") if path.is_dir())]
        assert {path.stat().st_mode & 0o777 for path in made} == {0o700}

    def test_one_of_somebody_else(
        self, files: dict[Any, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
        with ObjectServer({"/a.bin": files[by_image]}) as server:
            by_image(server.url("/a.bin"))
            mediaref_ursa._cache.settings._reset_cache_for_tests()  # type: ignore[attr-defined]
            mediaref_ursa.cleanup_cache()
            monkeypatch.setattr(os, "geteuid", lambda: 12_345)
            with pytest.raises(StoreError, match=r"of your own \(user 12345\).*allow_shared_cache_dir=True"):
                by_image(server.url("/a.bin"))
            by_image(server.url("/a.bin"), allow_shared_cache_dir=True)


class TestOptions:
    @of_videos
    def test_an_unknown_one_is_told(self, way: Read, files: dict[Any, bytes], tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_bytes(files[way])
        with pytest.raises(TypeError, match="allow_everything"):
            way(str(path), allow_everything=True)
        with pytest.raises(TypeError, match="untrusted to be True or False"):
            way(str(path), untrusted="please")

    def test_a_store_of_the_callers(self, files: dict[Any, bytes]) -> None:
        store = MemoryStore({"attic://a.mp4": files[by_batch]})
        for way in (by_batch, by_lazy_video, by_lazy_from_uri):
            assert way("attic://a.mp4", store=store, untrusted=True).shape
            with pytest.raises(InvalidReferenceError, match="allow_schemes="):
                way("attic://a.mp4", store=store, allow_schemes={"https"})

    def test_an_open_video_keeps_them_when_it_is_pickled(
        self, files: dict[Any, bytes], tmp_path: Path
    ) -> None:
        import pickle

        path = tmp_path / "a.mp4"
        path.write_bytes(files[by_batch])
        decoder = PyAVVideoDecoder(str(path), untrusted=True, max_pixels=96 * 64)
        assert pickle.loads(pickle.dumps(decoder))[0].shape == decoder[0].shape
        video = LazyVideo(path, untrusted=True, max_pixels=96 * 64)
        assert pickle.loads(pickle.dumps(video))._recording.video.access == video._recording.video.access

    def test_trust_is_not_remembered_from_another_call(self, files: dict[Any, bytes]) -> None:
        with ObjectServer({"/a.mp4": files[by_batch]}) as server:
            uri = server.url("/a.mp4")
            assert by_batch(uri).shape
            with pytest.raises(InvalidReferenceError, match="allow_private_hosts"):
                by_batch(uri, untrusted=True)

    def test_errors_of_a_batch_stand_in_their_places(self, files: dict[Any, bytes], tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(files[by_image])
        refs = [
            MediaRef("a.png"),
            MediaRef("../a.png"),
            MediaRef("rtsp://h/a"),
            MediaRef("data:video/mp4,x", 0),
        ]
        batch = batch_decode(refs, base_dir=tmp_path, untrusted=True, on_error="none")
        assert batch[0].shape == (8, 12, 3)
        assert {place: type(error) for place, error in batch.errors.items()} == {
            1: InvalidReferenceError,
            2: InvalidReferenceError,
            3: UnsupportedMediaError,
        }
