"""References in MCAP files, and topics of images and video as video files, with the real libraries."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from _encoding import read_code
from _pages import blocks_of, run_block
from PIL import Image

pytest.importorskip("mcap", reason="mcap is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("mcap_protobuf", reason="mcap-protobuf-support is not installed")

from _mcap import (
    ENCODERS,
    START_NS,
    encoded,
    file_packets,
    images,
    json_messages,
    linear_decode,
    log_times,
    write_bag,
    write_channel,
    write_json,
    write_protobuf,
)

import mediaref_ursa.mcap
from mediaref_ursa import (
    CorruptMediaError,
    DamagedMediaWarning,
    InvalidReferenceError,
    LimitExceededError,
    MediaNotFoundError,
    MediaRef,
    MediaRefWarning,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
)
from mediaref_ursa._bitstream.bits import annex_b_nals, length_prefixed_nals
from mediaref_ursa.mcap import extract_video, read_refs, write_refs

PAGE = Path(__file__).parents[2] / "docs" / "mcap.md"
IMAGE = "sensor_msgs/msg/CompressedImage"
VIDEO = "foxglove_msgs/msg/CompressedVideo"


# --- references ---------------------------------------------------------------------------------


@pytest.fixture
def folder(example_files: Path, tmp_path: Path) -> Path:
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    return tmp_path


def rows_of(table: pa.Table) -> list[tuple[str, int | None, int]]:
    return [(row["ref"]["uri"], row["ref"]["pts_ns"], row["log_time_ns"]) for row in table.to_pylist()]


def test_references_come_back_and_decode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = str(folder / "clip.mp4")
    refs = [MediaRef(video, 500_000_000), MediaRef(video, 0), MediaRef(str(folder / "photo.png"))]
    write_refs(folder / "refs.mcap", refs, log_times_ns=[7, 5, 6])
    table = read_refs(folder / "refs.mcap", "screen")

    assert table.schema == pa.schema(
        {"ref": pa.struct({"uri": pa.string(), "pts_ns": pa.int64()}), "log_time_ns": pa.int64()}
    )
    assert rows_of(table) == [
        (video, 0, 5),
        (str(folder / "photo.png"), None, 6),
        (video, 500_000_000, 7),
    ]
    expected = batch_decode([refs[1], refs[2], refs[0]])
    assert all((one == other).all() for one, other in zip(batch_decode(table), expected, strict=True))
    assert rows_of(read_refs(folder / "refs.mcap", "screen", resolve=False))[0] == ("clip.mp4", 0, 5)
    monkeypatch.chdir(folder)
    assert rows_of(read_refs("refs.mcap", "screen"))[0] == ("clip.mp4", 0, 5)
    assert len(batch_decode(read_refs("refs.mcap", "screen"))) == 3


def test_the_layout_is_that_of_open_world_agents(folder: Path) -> None:
    from mcap.reader import make_reader

    write_refs(folder / "refs.mcap", [MediaRef(str(folder / "clip.mp4"), 33_333_333)], topic="screen")
    with (folder / "refs.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        ((schema, channel, message),) = reader.iter_messages()
        assert reader.get_header().profile == "owa"
    assert schema is not None
    assert (schema.name, schema.encoding) == ("desktop/ScreenCaptured", "jsonschema")
    assert (channel.topic, channel.message_encoding) == ("screen", "json")
    assert (message.log_time, message.publish_time) == (33_333_333, 33_333_333)
    assert json.loads(message.data) == {
        "utc_ns": 33_333_333,
        "media_ref": {"uri": "clip.mp4", "pts_ns": 33_333_333},
    }
    properties = json.loads(schema.data)["properties"]
    assert properties["utc_ns"] == {"type": "integer"}
    assert set(properties["media_ref"]["properties"]) == {"uri", "pts_ns"}


def test_a_nested_field(folder: Path) -> None:
    write_refs(folder / "refs.mcap", [MediaRef("s3://bucket/a.mp4", 3)], field="image.ref", topic="a")
    assert rows_of(read_refs(folder / "refs.mcap", "a", field="image.ref")) == [("s3://bucket/a.mp4", 3, 3)]
    with pytest.raises(InvalidReferenceError, match="path='media_ref'"):
        read_refs(folder / "refs.mcap", "a")


def test_which_uris_are_written_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "far" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "logs")
    uris = [
        "https://host/a.mp4",
        (tmp_path / "a.mp4").as_uri(),
        "data:image/png;base64,AAAA",
        str(tmp_path / "logs" / "in" / "a.mp4"),
        str(tmp_path / "a b.mp4"),
        str(tmp_path / "logs" / "data:x"),
        f"{tmp_path}/logs/set.lance/@video/take%201.mp4",
    ]
    refs = [MediaRef(uri, number) for number, uri in enumerate(uris)]
    written = [*uris[:3], "in/a.mp4", "../a b.mp4", "./data:x", "set.lance/@video/take%201.mp4"]
    file = tmp_path / "logs" / "refs.mcap"
    write_refs(file, refs)
    assert [uri for uri, _, _ in rows_of(read_refs(file, "screen", resolve=False))] == written
    found = [uri for uri, _, _ in rows_of(read_refs(file, "screen"))]
    assert found[:3] == uris[:3]
    assert [Path(uri).resolve() for uri in found[3:]] == [Path(uri) for uri in uris[3:]]

    write_refs(tmp_path / "link" / "refs.mcap", refs[4:5])
    ((through_link, _, _),) = rows_of(read_refs(tmp_path / "link" / "refs.mcap", "screen"))
    assert Path(through_link).resolve() == tmp_path / "a b.mp4"


@pytest.mark.parametrize(
    ("options", "refs", "error", "message"),
    [
        ({}, [MediaRef("a.png")], ValueError, "pass log_times_ns="),
        ({}, [MediaRef("a.mp4", -1)], ValueError, "from 0 to .*found -1 at position 0; .*log_times_ns"),
        ({"log_times_ns": [1, 2]}, [MediaRef("a.mp4", 0)], ValueError, "found 2 and 1"),
        ({"log_times_ns": [1.5]}, [MediaRef("a.mp4", 0)], TypeError, "whole numbers, found 1.5"),
        ({"log_times_ns": [2**63]}, [MediaRef("a.mp4", 0)], ValueError, "found 9223372036854775808"),
        ({"field": "utc_ns"}, [MediaRef("a.mp4", 0)], ValueError, "found 'utc_ns'"),
        ({"field": "a..b"}, [MediaRef("a.mp4", 0)], ValueError, "found 'a..b'"),
        ({"topic": ""}, [MediaRef("a.mp4", 0)], ValueError, "name of a topic"),
        ({}, [[MediaRef("a.mp4", 0)]], InvalidReferenceError, "rows that are lists"),
        ({}, [{"pts_ns": 0}], ValueError, "a reference with a uri"),
    ],
)
def test_references_that_cannot_be_written(
    tmp_path: Path, options: dict[str, Any], refs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_refs(tmp_path / "refs.mcap", refs, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    file, other = tmp_path / "refs.mcap", [MediaRef("s3://bucket/b.mp4", 0)]
    write_refs(file, [MediaRef("s3://bucket/a.mp4", 0)])
    with pytest.raises(StoreError, match="overwrite=True"):
        write_refs(file, other)
    assert rows_of(read_refs(file, "screen")) == [("s3://bucket/a.mp4", 0, 0)]
    write_refs(file, other, overwrite=True)
    assert rows_of(read_refs(file, "screen")) == [("s3://bucket/b.mp4", 0, 0)]
    with pytest.raises(StoreError, match="found none; make it first"):
        write_refs(tmp_path / "no" / "refs.mcap", other)
    assert [path.name for path in tmp_path.iterdir()] == ["refs.mcap"]


def texts(*uris: str) -> list[bytes]:
    return [json.dumps({"media_ref": {"uri": uri, "pts_ns": n}}).encode() for n, uri in enumerate(uris)]


SCHEMA = ("desktop/ScreenCaptured", "jsonschema", b"{}")


@pytest.mark.parametrize(
    "options",
    [{}, {"use_chunking": False}, {"repeat_channels": False}, {"use_statistics": False}, {"chunk_size": 1}],
    ids=lambda options: next(iter(options), "all"),
)
def test_files_without_an_index_are_read_too(tmp_path: Path, options: dict[str, Any]) -> None:
    file = tmp_path / "a.mcap"
    write_channel(
        file, texts("a", "b", "c"), encoding="json", schema=SCHEMA, topic="t", times=[9, 3, 5], **options
    )
    assert rows_of(read_refs(file, "t", resolve=False)) == [("b", 1, 3), ("c", 2, 5), ("a", 0, 9)]


def test_a_topic_without_messages(tmp_path: Path) -> None:
    for name, options in (("a.mcap", {}), ("b.mcap", {"use_chunking": False})):
        write_channel(tmp_path / name, [], encoding="json", schema=SCHEMA, topic="t", **options)
        assert len(read_refs(tmp_path / name, "t")) == 0


def write_strings(path: Path, data: list[str]) -> Path:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store: Any = get_typestore(Stores.ROS2_HUMBLE)
    kind = "std_msgs/msg/String"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/refs", kind, typestore=store)
        for number, text in enumerate(data):
            writer.write(connection, number, store.serialize_cdr(store.types[kind](data=text), kind))
    return path


def test_strings_of_a_bag_hold_references(tmp_path: Path) -> None:
    bag = write_strings(tmp_path / "bag", [text.decode() for text in texts("a.mp4", "b.mp4")])
    assert rows_of(read_refs(bag, "/refs")) == [(f"{bag}/a.mp4", 0, 0), (f"{bag}/b.mp4", 1, 1)]


def test_files_of_a_bag_are_read_in_natural_order(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    for number in (10, 9, 1):
        write_channel(
            tmp_path / "bag" / f"bag_{number}.mcap",
            texts(str(number)),
            encoding="json",
            schema=SCHEMA,
            topic="t",
            times=[5],
        )
    found = rows_of(read_refs(tmp_path / "bag", "t", resolve=False))
    assert [uri for uri, _, _ in found] == ["1", "9", "10"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_channel(
        tmp_path / "a.mcap", texts(*"abcdefgh"), encoding="json", schema=SCHEMA, topic="t", times=range(8)
    )


def test_a_missing_file_and_one_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="expected an MCAP file, found nothing"):
        read_refs(tmp_path / "a.mcap", "t")
    (tmp_path / "a.mcap").write_bytes(b"")
    with pytest.raises(CorruptMediaError, match="found an empty one"):
        read_refs(tmp_path / "a.mcap", "t")
    (tmp_path / "a.mcap").write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    with pytest.raises(UnsupportedMediaError, match="begin with b'#ROSBAG '"):
        read_refs(tmp_path / "a.mcap", "t")
    with pytest.raises(UnsupportedMediaError, match=r"with metadata\.yaml, found a folder without"):
        read_refs(tmp_path, "t")
    (tmp_path / "metadata.yaml").touch()
    (tmp_path / "a.mcap").rename(tmp_path / "a.db3")
    with pytest.raises(UnsupportedMediaError, match=r"found a\.db3, .*ros2 bag convert"):
        read_refs(tmp_path, "t")
    with pytest.raises(InvalidReferenceError, match="found the scheme 's3'"):
        read_refs("s3://bucket/a.mcap", "t")


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_is_cut_short(recording: Path, part: float) -> None:
    data = recording.read_bytes()
    recording.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(CorruptMediaError, match="mcap recover"):
        read_refs(recording, "t")


@pytest.mark.parametrize(
    "options", [{}, {"use_chunking": False, "enable_data_crcs": True}], ids=["chunks", "none"]
)
def test_damage_is_an_error_or_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    file = tmp_path / "a.mcap"
    write_channel(
        file, texts(*"abcdefgh"), encoding="json", schema=SCHEMA, topic="t", times=range(8), **options
    )
    whole, expected = file.read_bytes(), rows_of(read_refs(file, "t"))
    random = np.random.default_rng(0)
    errors = 0
    for position in random.integers(8, len(whole) - 8, 150).tolist():
        damaged = bytearray(whole)
        damaged[position] ^= int(random.integers(1, 256))
        file.write_bytes(damaged)
        try:
            assert rows_of(read_refs(file, "t")) == expected
        except (CorruptMediaError, InvalidReferenceError, LimitExceededError, UnsupportedMediaError):
            errors += 1
    assert errors > 20


def test_an_unknown_topic_lists_those_there_are(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidReferenceError, match="found 'screen'; its topics are: /other, t"):
        read_refs(recording, "screen")
    with pytest.raises(InvalidReferenceError, match="its topics are: /other, t"):
        extract_video(recording, "screen", tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (b"{", InvalidReferenceError, "at row 1: Invalid JSON"),
        (b"{}", InvalidReferenceError, "at row 1: nothing at path='media_ref'"),
        (b'{"media_ref": 5}', InvalidReferenceError, "at row 1: 5, where an object"),
        (b'{"media_ref": {"uri": "a", "pts_ns": 0.5}}', InvalidReferenceError, "a fraction"),
        (b"\xff\xfe", CorruptMediaError, "message 1 is no JSON"),
    ],
)
def test_messages_without_references(
    tmp_path: Path, message: bytes, error: type[Exception], text: str
) -> None:
    file = write_channel(
        tmp_path / "a.mcap", [*texts("a"), message], encoding="json", schema=SCHEMA, topic="t"
    )
    with pytest.raises(error, match=text) as caught:
        read_refs(file, "t")
    assert caught.value.uri == str(file)  # type: ignore[attr-defined]


def test_references_in_another_encoding(tmp_path: Path) -> None:
    file = write_protobuf(tmp_path / "a.mcap", "CompressedImage", "png", images("png", 2))
    with pytest.raises(UnsupportedMediaError, match="found foxglove.CompressedImage, encoded as 'protobuf'"):
        read_refs(file, "/camera")


# --- video --------------------------------------------------------------------------------------


def decoded(table: pa.Table) -> list[Any]:
    """Decode the references of a table, the last first, so that no order of decoding helps."""
    back = table.take(pa.array(range(len(table) - 1, -1, -1)))
    return list(batch_decode(back))[::-1]


def check_times(table: pa.Table, out: Path, *, tick_ns: int, gap_ns: int) -> None:
    times = log_times(len(table))
    assert table.column("log_time_ns").to_pylist() == times
    refs = table.column("ref").to_pylist()
    assert {ref["uri"] for ref in refs} == {str(out)}
    next_ns = 0
    for time_ns, ref in zip(times, refs, strict=True):
        next_ns = max((time_ns - times[0]) // tick_ns * tick_ns, next_ns)
        assert ref["pts_ns"] == next_ns
        next_ns += gap_ns
    assert batch_decode(table).pts_ns.tolist() == [ref["pts_ns"] for ref in refs]


def units(packet: bytes, *, is_in_file: bool) -> list[bytes]:
    nals = length_prefixed_nals(memoryview(packet), 4) if is_in_file else annex_b_nals(memoryview(packet))
    return [bytes(nal) for nal in nals]


def payload(format: str, packet: bytes, *, is_in_file: bool) -> Any:
    """Return what must not change of a packet: MP4 has no start codes and no temporal delimiters."""
    if format in ("h264", "h265"):
        return units(packet, is_in_file=is_in_file)
    return packet.removeprefix(b"\x12\x00") if format == "av1" else packet


WRITERS: dict[str, Callable[[Path, str, list[bytes]], Path]] = {
    "json": lambda path, format, data: write_json(path / "a.mcap", "CompressedVideo", format, data),
    "protobuf": lambda path, format, data: write_protobuf(path / "a.mcap", "CompressedVideo", format, data),
    "cdr": lambda path, format, data: write_bag(path / "bag", VIDEO, [(format, one) for one in data]),
}


@pytest.mark.parametrize("encoding", WRITERS)
@pytest.mark.parametrize("format", ENCODERS)
def test_each_frame_of_a_video_topic_comes_out_exactly(tmp_path: Path, format: str, encoding: str) -> None:
    packets = encoded(format)
    recording = WRITERS[encoding](tmp_path, format, packets)
    out = tmp_path / "camera.mp4"
    table = extract_video(recording, "/camera", out)

    expected = linear_decode(format, packets)
    assert [read_code(frame) for frame in expected] == list(range(8))
    assert all((one == other).all() for one, other in zip(decoded(table), expected, strict=True))
    check_times(table, out, tick_ns=1000, gap_ns=2000)
    assert table.column("stamp_ns").to_pylist() == [10_000_000_000 + number for number in range(8)]
    found = [payload(format, packet, is_in_file=True) for packet in file_packets(out)]
    assert found == [payload(format, packet, is_in_file=False) for packet in packets]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([recording.name, "camera.mp4"])


@pytest.mark.parametrize(
    ("format", "end"),
    [("h264", ".mov"), ("h265", ".mov"), *[(format, ".mkv") for format in ENCODERS]],
)
def test_other_kinds_of_files(tmp_path: Path, format: str, end: str) -> None:
    packets = encoded(format)
    recording = write_json(tmp_path / "a.mcap", "CompressedVideo", format, packets)
    table = extract_video(recording, "/camera", tmp_path / f"a{end}")
    expected = linear_decode(format, packets)
    assert all((one == other).all() for one, other in zip(decoded(table), expected, strict=True))
    tick_ns, gap_ns = (1_000_000, 1_000_000) if end == ".mkv" else (1000, 2000)
    check_times(table, tmp_path / f"a{end}", tick_ns=tick_ns, gap_ns=gap_ns)


def test_key_frames_are_marked(tmp_path: Path) -> None:
    import av

    for format in ENCODERS:
        recording = write_json(tmp_path / "a.mcap", "CompressedVideo", format, encoded(format))
        extract_video(recording, "/camera", tmp_path / f"{format}.mp4")
        with av.open(str(tmp_path / f"{format}.mp4")) as container:
            flags = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert flags == [number % 3 == 0 for number in range(8)], format


@pytest.mark.parametrize("end", [".mp4", ".mov"])
def test_png_of_a_bag(tmp_path: Path, end: str) -> None:
    files = images("png")
    bag = write_bag(tmp_path / "bag", IMAGE, [("rgb8; png compressed bgr8", file) for file in files])
    out = tmp_path / f"a{end}"
    table = extract_video(bag, "/camera", out)
    expected = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    assert all((one == other).all() for one, other in zip(decoded(table), expected, strict=True))
    assert file_packets(out) == files
    check_times(table, out, tick_ns=1000, gap_ns=2000)
    assert table.column("stamp_ns")[3].as_py() == 10_000_000_003


@pytest.mark.parametrize("end", [".mp4", ".mov", ".mkv"])
def test_jpeg_of_a_bag(tmp_path: Path, end: str) -> None:
    files = images("jpeg", quality=90)
    bag = write_bag(tmp_path / "bag", IMAGE, [("jpeg", file) for file in files])
    out = tmp_path / f"a{end}"
    table = extract_video(bag, "/camera", out)
    expected = linear_decode("jpeg", files)
    assert all((one == other).all() for one, other in zip(decoded(table), expected, strict=True))
    assert file_packets(out) == files


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_images_of_foxglove(tmp_path: Path, encoding: str) -> None:
    files = images("png", 3)
    write = write_json if encoding == "json" else write_protobuf
    table = extract_video(
        write(tmp_path / "a.mcap", "CompressedImage", "png", files), "/camera", tmp_path / "a.mp4"
    )
    assert [read_code(frame) for frame in decoded(table)] == [0, 1, 2]


def test_messages_of_ros_1(tmp_path: Path) -> None:
    from rosbags.typesys import Stores, get_typestore

    store: Any = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    files = images("jpeg", 3)
    messages = []
    for number, file in enumerate(files):
        stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=number)
        header = types["std_msgs/msg/Header"](seq=number, stamp=stamp, frame_id="")
        message = types[IMAGE](header=header, format="jpeg", data=np.frombuffer(file, np.uint8))
        messages.append(bytes(store.serialize_ros1(message, IMAGE)))
    text, _ = store.generate_msgdef(IMAGE, ros_version=1)
    schema = ("sensor_msgs/CompressedImage", "ros1msg", text.encode())
    recording = write_channel(tmp_path / "a.mcap", messages, encoding="ros1", schema=schema)
    table = extract_video(recording, "/camera", tmp_path / "a.mp4")
    assert file_packets(tmp_path / "a.mp4") == files
    assert table.column("stamp_ns").to_pylist() == [1_000_000_000 + number for number in range(3)]


def test_messages_without_time_stamps(tmp_path: Path) -> None:
    files = images("jpeg", 2)
    schema = ("foxglove.CompressedImage", "jsonschema", b"{}")
    messages = json_messages("jpeg", files, with_stamp=False)
    for recording in (
        write_channel(tmp_path / "a.mcap", messages, encoding="json", schema=schema),
        write_protobuf(tmp_path / "b.mcap", "CompressedImage", "jpeg", files, with_stamp=False),
    ):
        table = extract_video(recording, "/camera", tmp_path / "a.mp4", overwrite=True)
        assert table.column("stamp_ns").to_pylist() == [None, None]


@pytest.mark.parametrize("format", ["webp", "bmp", "tiff"])
def test_other_images_become_png(tmp_path: Path, format: str) -> None:
    files = images(format, 3, **({"lossless": True} if format == "webp" else {}))
    bag = write_bag(tmp_path / "bag", IMAGE, [(format, file) for file in files])
    with pytest.warns(MediaRefWarning, match="3 images of /camera .* were encoded as PNG"):
        table = extract_video(bag, "/camera", tmp_path / "a.mp4")
    expected = [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]
    assert all((one == other).all() for one, other in zip(decoded(table), expected, strict=True))


def test_depth_of_the_transport_compressed_depth(tmp_path: Path) -> None:
    depth = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 17
    target = io.BytesIO()
    Image.fromarray(depth).save(target, format="png")
    data = bytes(12) + target.getvalue()
    bag = write_bag(tmp_path / "bag", IMAGE, [("16UC1; compressedDepth png", data)] * 2)
    table = extract_video(bag, "/camera", tmp_path / "a.mp4")
    frames = batch_decode(table, dtype="native", colorspace="G")
    assert all((np.squeeze(frame) == depth).all() for frame in frames)
    bag = write_bag(tmp_path / "floats", IMAGE, [("32FC1; compressedDepth png", data)])
    with pytest.raises(UnsupportedMediaError, match="16UC1.*32FC1"):
        extract_video(bag, "/camera", tmp_path / "b.mp4")


def test_messages_in_front_of_the_first_key_frame_have_no_reference(tmp_path: Path) -> None:
    packets = encoded("h264")
    recording = write_json(tmp_path / "a.mcap", "CompressedVideo", "h264", packets[1:])
    with pytest.warns(DamagedMediaWarning, match="2 messages of /camera in front of the first key frame"):
        table = extract_video(recording, "/camera", tmp_path / "a.mp4")
    assert [ref is None for ref in table.column("ref").to_pylist()] == [True, True, *[False] * 5]
    assert table.column("log_time_ns").to_pylist() == log_times(7)
    assert table.column("ref")[2].as_py()["pts_ns"] == 0
    expected = linear_decode("h264", packets[3:])
    assert all((one == other).all() for one, other in zip(decoded(table[2:]), expected, strict=True))


def test_a_video_is_replaced_only_on_request(tmp_path: Path) -> None:
    recording = write_json(tmp_path / "a.mcap", "CompressedImage", "jpeg", images("jpeg", 2))
    extract_video(recording, "/camera", tmp_path / "a.mp4")
    with pytest.raises(StoreError, match="overwrite=True"):
        extract_video(recording, "/camera", tmp_path / "a.mp4")
    assert len(extract_video(recording, "/camera", tmp_path / "a.mp4", overwrite=True)) == 2


def refused(tmp_path: Path, recording: Path, error: type[Exception], text: str, out: str = "a.mp4") -> None:
    """Extract into a folder that must be empty afterwards."""
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=text):
        extract_video(recording, "/camera", tmp_path / "out" / out)
    assert list((tmp_path / "out").iterdir()) == []


def images_file(tmp_path: Path, data: list[bytes], kind: str = "CompressedImage", format: str = "") -> Path:
    return write_json(tmp_path / "a.mcap", kind, format, data)


def test_frames_of_several_sizes(tmp_path: Path) -> None:
    data = images("jpeg", 2) + images("jpeg", 1, size=(80, 48))
    text = "message 2 of /camera: expected frames of one size.*64x48 yuvj420p.*found 80x48"
    refused(tmp_path, images_file(tmp_path, data), UnsupportedMediaError, text)


@pytest.mark.parametrize("format", ENCODERS)
def test_videos_of_several_sizes(tmp_path: Path, format: str) -> None:
    data = encoded(format, 3) + encoded(format, 2, size=(96, 64))
    recording = images_file(tmp_path, data, "CompressedVideo", format)
    refused(tmp_path, recording, UnsupportedMediaError, "message 3 of /camera: .*64x48 .*found 96x64")


def test_frames_of_several_codecs(tmp_path: Path) -> None:
    data = images("jpeg", 2) + images("png", 1)
    text = "message 2 of /camera: expected frames of one codec, found png after mjpeg"
    refused(tmp_path, images_file(tmp_path, data), UnsupportedMediaError, text)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("h264", {"bf": "2", "x264-params": "annexb=1:b-adapt=0", "g": "30"}),
        ("h265", {"x265-params": "bframes=2:b-adapt=0:keyint=30:log-level=none:repeat-headers=1"}),
    ],
)
def test_b_frames_are_refused(tmp_path: Path, format: str, options: dict[str, str]) -> None:
    recording = images_file(tmp_path, encoded(format, **options), "CompressedVideo", format)
    text = r"message \d of /camera: expected frames in the order.*B-frames"
    refused(tmp_path, recording, UnsupportedMediaError, text)


def test_a_topic_without_a_key_frame(tmp_path: Path) -> None:
    recording = images_file(tmp_path, encoded("h264")[1:3], "CompressedVideo", "h264")
    refused(tmp_path, recording, CorruptMediaError, "expected a key frame .*found none in 2 messages")


def test_a_topic_without_frames(tmp_path: Path) -> None:
    refused(tmp_path, images_file(tmp_path, []), CorruptMediaError, "expected a message in the topic /camera")


def test_a_pause_that_mp4_cannot_hold(tmp_path: Path) -> None:
    schema = ("foxglove.CompressedImage", "jsonschema", b"{}")
    times = [START_NS, START_NS + 3_600_000_000_000]
    recording = write_channel(
        tmp_path / "a.mcap",
        json_messages("jpeg", images("jpeg", 2)),
        encoding="json",
        schema=schema,
        times=times,
    )
    refused(tmp_path, recording, UnsupportedMediaError, "found 3600 s; write a .mkv file")
    table = extract_video(recording, "/camera", tmp_path / "a.mkv")
    assert [read_code(frame) for frame in decoded(table)] == [0, 1]


@pytest.mark.parametrize(("kind", "format", "end"), [("Video", "vp9", ".mov"), ("Image", "png", ".mkv")])
def test_a_codec_that_the_kind_of_file_cannot_hold(tmp_path: Path, kind: str, format: str, end: str) -> None:
    data = encoded(format, 2) if kind == "Video" else images(format, 2)
    recording = images_file(tmp_path, data, f"Compressed{kind}", format)
    refused(tmp_path, recording, UnsupportedMediaError, f"can hold {format}, .*write one of: .mp4", f"a{end}")


def test_a_file_of_another_kind_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end with one of \.mp4, \.mov, \.mkv, found .*a\.avi"):
        extract_video(tmp_path / "a.mcap", "/camera", tmp_path / "a.avi")
    refused(tmp_path, tmp_path / "a.mcap", MediaNotFoundError, "expected an MCAP file, found nothing")


def test_a_file_in_another_order_and_without_an_index(tmp_path: Path) -> None:
    recording = write_channel(
        tmp_path / "a.mcap",
        json_messages("jpeg", images("jpeg", 2)),
        encoding="json",
        schema=("foxglove.CompressedImage", "jsonschema", b"{}"),
        times=[START_NS + 1, START_NS],
        use_chunking=False,
    )
    refused(tmp_path, recording, UnsupportedMediaError, "message 1 of /camera: .*mcap sort")


def test_topics_of_other_kinds(tmp_path: Path) -> None:
    recording = write_channel(tmp_path / "a.mcap", texts("a"), encoding="json", schema=SCHEMA)
    text = "expected a topic of compressed images or video .*found desktop/ScreenCaptured"
    refused(tmp_path, recording, UnsupportedMediaError, text)


@pytest.mark.parametrize(
    ("kind", "encoding", "schema", "data", "error", "text"),
    [
        ("Image", "json", "jsonschema", b'{"format": "jpeg"}', CorruptMediaError, "has no field 'data'"),
        ("Image", "json", "jsonschema", b'{"format": "", "data": "%"}', CorruptMediaError, "cannot be read"),
        ("Image", "json", "jsonschema", b'{"format": "", "data": ""}', CorruptMediaError, "found none"),
        (
            "Image",
            "json",
            "jsonschema",
            b'{"format": "x", "data": "AAAA"}',
            UnsupportedMediaError,
            "format 'x'",
        ),
        (
            "Video",
            "json",
            "jsonschema",
            b'{"format": "vp8", "data": "AAAA"}',
            UnsupportedMediaError,
            "h264, .*'vp8'",
        ),
        (
            "Image",
            "json",
            "jsonschema",
            b'{"format": "", "data": "/9j/AAAA"}',
            CorruptMediaError,
            "mjpeg frame",
        ),
        ("Image", "protobuf", "protobuf", b"", CorruptMediaError, "is missing that schema"),
        ("Image", "cdr", "ros2msg", b"", CorruptMediaError, "Could not parse|could not read"),
        ("Image", "cdr", "omgidl", b"", UnsupportedMediaError, "ros2idl, found 'omgidl'"),
        ("Image", "cbor", "", b"", UnsupportedMediaError, "json, cdr, ros1 or protobuf, .*'cbor'"),
    ],
)
def test_messages_that_cannot_be_read(
    tmp_path: Path, kind: str, encoding: str, schema: str, data: bytes, error: type[Exception], text: str
) -> None:
    name = f"foxglove.Compressed{kind}"
    recording = write_channel(
        tmp_path / "a.mcap",
        [data],
        encoding=encoding,
        schema=(name, schema, b"not a schema" * (encoding == "cdr")),
    )
    refused(tmp_path, recording, error, f"message 0 (of /camera|is no).*{text}")


def test_a_message_of_a_bag_that_is_cut_short(tmp_path: Path) -> None:
    from rosbags.typesys import Stores, get_typestore

    text, _ = get_typestore(Stores.ROS2_HUMBLE).generate_msgdef(IMAGE)
    schema = (IMAGE, "ros2msg", text.encode())
    recording = write_channel(tmp_path / "a.mcap", [b"\0\1\0\0\1"], encoding="cdr", schema=schema)
    refused(
        tmp_path, recording, CorruptMediaError, "message 0 is no sensor_msgs/CompressedImage: could not read"
    )


def test_messages_without_a_frame_are_refused(tmp_path: Path) -> None:
    packets = encoded("h264", 4)
    data = [*packets[:2], b"\0\0\0\1\x09\xf0", *packets[2:]]
    recording = images_file(tmp_path, data, "CompressedVideo", "h264")
    text = "expected one frame for each of 5 messages of /camera, .*found 4 frames"
    refused(tmp_path, recording, CorruptMediaError, text)


def test_a_recording_that_is_cut_short_leaves_no_video(tmp_path: Path) -> None:
    recording = images_file(tmp_path, images("jpeg", 8), format="jpeg")
    recording.write_bytes(recording.read_bytes()[:-500])
    refused(tmp_path, recording, CorruptMediaError, "mcap recover")


def test_damaged_frames_that_make_no_video(tmp_path: Path) -> None:
    packets = [bytes(packet[:20]) for packet in encoded("vp9", 3)]
    recording = images_file(tmp_path, packets, "CompressedVideo", "vp9")
    refused(
        tmp_path, recording, CorruptMediaError, "expected frames that make a video, found damage in /camera"
    )


def test_the_public_names_say_where_they_are_imported_from() -> None:
    names = {"extract_video", "read_refs", "write_refs"}
    assert set(mediaref_ursa.mcap.__all__) == names
    assert {getattr(mediaref_ursa.mcap, name).__module__ for name in names} == {"mediaref_ursa.mcap"}


# --- the page -----------------------------------------------------------------------------------


def test_the_page(example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of ``docs/mcap.md`` run, in one namespace."""
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write_bag(tmp_path / "bag", IMAGE, [("jpeg", file) for file in images("jpeg")])
    namespace: dict[str, Any] = {"__name__": "example"}
    blocks = [block for block in blocks_of(PAGE) if block.needs_libraries]
    assert len(blocks) == 3
    for block in blocks:
        run_block(block, namespace)


def test_a_schema_that_contains_itself_is_an_error() -> None:
    from mediaref_ursa.mcap._messages import TopicChannel
    from mediaref_ursa.mcap._ros import ros_decoder

    kind, schema = "sensor_msgs/msg/CompressedImage", b"sensor_msgs/CompressedImage again\nuint8[] data\n"
    channel = TopicChannel("/camera", "cdr", kind, "ros2msg", schema)
    with pytest.raises(CorruptMediaError, match="could not read"):
        ros_decoder(channel)(bytes([0, 1, 0, 0]) + bytes(64))
