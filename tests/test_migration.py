"""Calls written for ``mediaref`` run here after ``s/mediaref/mediaref_ursa/``, and the page says so."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _encoding import encode, make_picture
from _http_server import ObjectServer
from _media import Clip
from _oracle import OracleFrame, linear_frames, shown_at
from _s3 import ACCESS_KEY, SECRET_KEY, new_bucket
from _special_clips import H264_IDR
from PIL import Image
from test_docs import ROOT, blocks_of, run_block

PAGE = ROOT / "docs" / "migrating-from-mediaref.md"

CALLS = {
    "MediaRef(uri=, pts_ns=)": """
        from mediaref import DataURI, MediaRef

        assert MediaRef(uri="image.png").uri == "image.png"
        assert MediaRef(uri="https://example.com/image.jpg").pts_ns is None
        assert MediaRef(uri="s3://bucket/clip.mp4", pts_ns=1_500_000_000).pts_ns == 1_500_000_000
        assert MediaRef(uri="data:image/png;base64,iVBORw0KGgo=").uri.startswith("data:image/png")
        data_uri = DataURI.from_image(picture, format="png")
        same(MediaRef(uri=data_uri).to_ndarray(), picture)
        assert MediaRef(uri=data_uri).uri == data_uri.uri
    """,
    "MediaRef: properties": """
        from mediaref import MediaRef

        embedded = MediaRef(uri="data:image/png;base64,iVBORw0KGgo=")
        remote = MediaRef(uri="https://example.com/image.jpg")
        frame = MediaRef(uri="videos/video.mp4", pts_ns=0)
        absolute = MediaRef(uri="/videos/video.mp4", pts_ns=5)
        refs = [embedded, remote, frame, absolute]
        assert [ref.is_embedded for ref in refs] == [True, False, False, False]
        assert [ref.is_remote for ref in refs] == [False, True, False, False]
        assert [ref.is_video for ref in refs] == [False, False, True, True]
        assert [ref.is_relative_path for ref in refs] == [False, False, True, False]
    """,
    "MediaRef.is_cloud_uri": """
        from mediaref import MediaRef

        for uri in ("s3://bucket/image.jpg", "gs://bucket/image.jpg", "hf://datasets/me/clips/cam.mp4"):
            assert MediaRef(uri=uri).is_cloud_uri
            assert not MediaRef(uri=uri).is_relative_path
        for uri in ("image.jpg", "/image.jpg", "file:///image.jpg", "data:image/png;base64,iVBORw0KGgo="):
            assert not MediaRef(uri=uri).is_cloud_uri
    """,
    "MediaRef.to_ndarray()": """
        from mediaref import MediaRef

        same(MediaRef(uri="image.png").to_ndarray(), picture)
        same(MediaRef(uri="video.mp4", pts_ns=1_000_000_000).to_ndarray(), shown(1_000_000_000))
    """,
    "MediaRef.to_ndarray(format=)": """
        from mediaref import MediaRef

        for ref, rgb in (
            (MediaRef(uri="image.png"), picture),
            (MediaRef(uri="video.mp4", pts_ns=1_000_000_000), shown(1_000_000_000)),
        ):
            same(ref.to_ndarray(format="rgb"), rgb)
            same(ref.to_ndarray(format="bgr"), rgb[..., ::-1])
            same(ref.to_ndarray(format="rgba"), with_alpha(rgb))
            same(ref.to_ndarray(format="bgra"), with_alpha(rgb[..., ::-1]))
            same(ref.to_ndarray(format="gray"), luma(rgb), levels=3)
    """,
    "MediaRef.to_ndarray(keep_av_open=)": """
        from mediaref import MediaRef

        ref = MediaRef(uri="video.mp4", pts_ns=2_000_000_000)
        same(ref.to_ndarray(format="rgb", keep_av_open=True), shown(2_000_000_000))
        same(np.asarray(ref.to_pil_image(keep_av_open=True)), shown(2_000_000_000))
    """,
    "MediaRef.to_pil_image(format=)": """
        from mediaref import MediaRef

        for ref, rgb in (
            (MediaRef(uri="image.png"), picture),
            (MediaRef(uri="video.mp4", pts_ns=1_000_000_000), shown(1_000_000_000)),
        ):
            assert ref.to_pil_image().mode == "RGB"
            same(np.asarray(ref.to_pil_image()), rgb)
            same(np.asarray(ref.to_pil_image(format="rgba")), with_alpha(rgb))
            same(np.asarray(ref.to_pil_image(format="gray")), luma(rgb), levels=3)
    """,
    "MediaRef.resolve_relative_path(base_path, on_unresolvable=)": """
        from mediaref import MediaRef

        ref = MediaRef(uri="relative/video.mkv", pts_ns=123456)
        resolved = ref.resolve_relative_path("/data/recordings")
        assert (resolved.uri, resolved.pts_ns) == ("/data/recordings/relative/video.mkv", 123456)
        remote = MediaRef(uri="https://example.com/image.jpg")
        assert remote.resolve_relative_path("/data", on_unresolvable="ignore").uri == remote.uri
        with pytest.warns(UserWarning, match="Cannot resolve unresolvable URI"):
            assert remote.resolve_relative_path("/data").uri == remote.uri
        with pytest.raises(ValueError, match="Cannot resolve unresolvable URI"):
            remote.resolve_relative_path("/data", on_unresolvable="error")
        here = MediaRef(uri="video.mp4", pts_ns=0).resolve_relative_path(folder)
        same(here.to_ndarray(), shown(0))
    """,
    "MediaRef.validate_uri()": """
        from mediaref import MediaRef

        assert MediaRef(uri="image.png").validate_uri() is True
        assert MediaRef(uri="no-such-image.png").validate_uri() is False
        assert MediaRef(uri="data:image/png;base64,iVBORw0KGgo=").validate_uri() is True
    """,
    "MediaRef.model_dump(), model_dump_json(), model_validate(), model_validate_json()": """
        from mediaref import MediaRef

        ref = MediaRef(uri="video.mp4", pts_ns=1_500_000_000)
        assert ref.model_dump() == {"uri": "video.mp4", "pts_ns": 1500000000}
        assert ref.model_dump_json() == '{"uri":"video.mp4","pts_ns":1500000000}'
        assert MediaRef.model_validate(ref.model_dump()) == ref
        assert MediaRef.model_validate_json(ref.model_dump_json()) == ref
        same(MediaRef.model_validate({"uri": "video.mp4", "pts_ns": 0}).to_ndarray(), shown(0))
        same(MediaRef.model_validate_json('{"uri":"video.mp4","pts_ns":0}').to_ndarray(), shown(0))
    """,
    "MediaRef in a DataFrame": """
        pd = pytest.importorskip("pandas")
        from mediaref import MediaRef, batch_decode

        images = pd.DataFrame(
            [{"action": [0.1, 0.2], "observation": MediaRef(uri="image.png").model_dump()}]
        )
        video = pd.DataFrame(
            [
                {"action": [0.1, 0.2], "observation": MediaRef(uri="video.mp4", pts_ns=0).model_dump()},
                {"action": [0.3], "observation": MediaRef(uri="video.mp4", pts_ns=50_000_000).model_dump()},
            ]
        )
        same(MediaRef.model_validate(images["observation"][0]).to_ndarray(), picture)
        refs = [MediaRef.model_validate(fields) for fields in video["observation"]]
        same(batch_decode(refs), [shown(0), shown(50_000_000)])
    """,
    "MediaRef over http": """
        from mediaref import MediaRef

        same(MediaRef(uri="https://example.com/image.png").to_ndarray(), picture)
        same(np.asarray(MediaRef(uri="https://example.com/image.png").to_pil_image()), picture)
        ref = MediaRef(uri="https://example.com/video.mp4", pts_ns=1_500_000_000)
        same(ref.to_ndarray(), shown(1_500_000_000))
    """,
    "MediaRef in a cloud store": """
        pytest.importorskip("s3fs")
        from mediaref import MediaRef, batch_decode

        same(MediaRef(uri="s3://my-bucket/image.png").to_ndarray(), picture)
        ref = MediaRef(uri="s3://my-bucket/video.mp4", pts_ns=1_500_000_000)
        same(ref.to_ndarray(), shown(1_500_000_000))
        refs = [MediaRef(uri="s3://my-bucket/video.mp4", pts_ns=int(i * 1e9)) for i in range(9)]
        same(batch_decode(refs), [shown(int(i * 1e9)) for i in range(9)])
    """,
    "DataURI.from_image(array, format=)": """
        from mediaref import DataURI, MediaRef

        rgb = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
        for format in ("png", "bmp"):
            ref = MediaRef(uri=DataURI.from_image(rgb, format=format))
            same(ref.to_ndarray(), rgb)
            same(np.asarray(ref.to_pil_image()), rgb)
            serialized = ref.model_dump_json()
            same(MediaRef.model_validate_json(serialized).to_ndarray(), rgb)
        same(MediaRef(uri=DataURI.from_image(shown(0), format="jpeg")).to_ndarray(), shown(0), levels=150)
    """,
    "DataURI.from_image(array, input_format=)": """
        from mediaref import DataURI

        bgra = with_alpha(picture[..., ::-1])
        bgra[..., 3] = 77
        rgba = bgra[..., [2, 1, 0, 3]]
        same(DataURI.from_image(picture[..., ::-1], format="png", input_format="bgr").to_ndarray(), picture)
        same(DataURI.from_image(rgba, format="png", input_format="rgba").to_ndarray(format="rgba"), rgba)
        same(DataURI.from_image(bgra, format="png", input_format="bgra").to_ndarray(format="bgra"), bgra)
        for format in ("jpeg", "bmp"):
            opaque = DataURI.from_image(rgba, format=format, input_format="rgba").to_ndarray(format="rgba")
            assert (opaque[..., 3] == 255).all()
    """,
    "DataURI.from_image(PIL.Image, quality=)": """
        from PIL import Image
        from mediaref import DataURI, MediaRef

        image = Image.open("photo.png")
        embedded = MediaRef(uri=DataURI.from_image(image, format="jpeg", quality=90))
        same(embedded.to_ndarray(), picture, levels=150)
        low, high = (DataURI.from_image(image, format="jpeg", quality=q) for q in (10, 95))
        assert low.mimetype == "image/jpeg" and len(low) < len(high)
    """,
    "DataURI.from_image(cv2.imread(), input_format='bgr')": """
        cv2 = pytest.importorskip("cv2")
        from mediaref import DataURI, MediaRef

        bgr = cv2.imread("image.jpg")
        embedded = MediaRef(uri=DataURI.from_image(bgr, format="png", input_format="bgr"))
        same(embedded.to_ndarray(), bgr[..., ::-1])
        same(embedded.to_ndarray(format="bgr"), bgr)
        same(embedded.to_ndarray(), MediaRef(uri="image.jpg").to_ndarray(), levels=3)
    """,
    "DataURI.from_file(path, format=)": """
        from pathlib import Path
        from mediaref import DataURI, MediaRef

        for path in ("image.png", Path("photo.png")):
            data_uri = DataURI.from_file(path)
            assert data_uri.mimetype == "image/png"
            same(MediaRef(uri=data_uri).to_ndarray(), picture)
        assert DataURI.from_file("image.jpg", format="jpeg").mimetype == "image/jpeg"
        with pytest.raises(FileNotFoundError):
            DataURI.from_file("no-such-image.png")
    """,
    "DataURI.from_uri(uri)": """
        from mediaref import DataURI

        uri = DataURI.from_file("image.png").uri
        same(DataURI.from_uri(uri).to_ndarray(), picture)
        assert DataURI.from_uri(uri).uri == uri
        with pytest.raises(ValueError):
            DataURI.from_uri("https://example.com/image.jpg")
    """,
    "DataURI.to_ndarray(format=), to_pil_image()": """
        from mediaref import DataURI

        data_uri = DataURI.from_image(picture, format="png")
        same(data_uri.to_ndarray(), picture)
        same(data_uri.to_ndarray(format="bgr"), picture[..., ::-1])
        same(data_uri.to_ndarray(format="rgba"), with_alpha(picture))
        same(data_uri.to_ndarray(format="bgra"), with_alpha(picture[..., ::-1]))
        same(data_uri.to_ndarray(format="gray"), luma(picture), levels=1)
        assert data_uri.to_pil_image().mode == "RGB"
        same(np.asarray(data_uri.to_pil_image()), picture)
    """,
    "DataURI: properties, len()": """
        from pathlib import Path
        from mediaref import DataURI

        data_uri = DataURI.from_file("image.png")
        assert (data_uri.mimetype, data_uri.is_image, data_uri.is_base64) == ("image/png", True, True)
        assert len(data_uri) == len(data_uri.uri) == len(str(data_uri))
        assert data_uri.decoded_data == Path("image.png").read_bytes()
        assert not DataURI.from_uri("data:text/plain,abc").is_image
    """,
    "batch_decode(refs)": """
        from mediaref import MediaRef, batch_decode, cleanup_cache

        refs = [MediaRef(uri="video.mp4", pts_ns=int(i * 1e9)) for i in range(10)]
        same(batch_decode(refs), [shown(int(i * 1e9)) for i in range(10)])
        same(batch_decode(refs[::-1]), [shown(int(i * 1e9)) for i in reversed(range(10))])
        assert list(batch_decode([])) == []
        assert cleanup_cache() is None
    """,
    "batch_decode(refs, decoder=, strategy=)": """
        from mediaref import MediaRef, batch_decode
        from mediaref.video_decoder import BatchDecodingStrategy

        refs = [MediaRef(uri="video.mp4", pts_ns=int(i * 1e9)) for i in range(10)]
        expected = [shown(int(i * 1e9)) for i in range(10)]
        for strategy in (
            BatchDecodingStrategy.SEPARATE,
            BatchDecodingStrategy.SEQUENTIAL,
            BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK,
            None,
        ):
            same(batch_decode(refs, decoder="pyav", strategy=strategy), expected)
            same(batch_decode(refs, strategy, "pyav"), expected)
    """,
    "batch_decode(refs, decoder)": """
        from mediaref import MediaRef, batch_decode

        refs = [MediaRef(uri="video.mp4", pts_ns=int(i * 1e9)) for i in range(10)]
        same(batch_decode(refs, "pyav"), [shown(int(i * 1e9)) for i in range(10)])
        same(batch_decode(refs, decoder="pyav"), [shown(int(i * 1e9)) for i in range(10)])
        with pytest.raises(ValueError, match="decoder"):
            batch_decode(refs, decoder="gstreamer")
    """,
    "batch_decode(refs, decoder='torchcodec')": """
        torchcodec_or_skip()
        from mediaref import MediaRef, batch_decode

        refs = [MediaRef(uri="video.mp4", pts_ns=int(i * 1e9)) for i in range(10)]
        same(batch_decode(refs, decoder="torchcodec"), [shown(int(i * 1e9)) for i in range(10)], levels=2)
        same(batch_decode(refs, "torchcodec"), [shown(int(i * 1e9)) for i in range(10)], levels=2)
    """,
    "batch_decode(refs) of images": """
        from mediaref import MediaRef, batch_decode

        refs = [MediaRef(uri="image.png"), MediaRef(uri="video.mp4", pts_ns=0)]
        frames = batch_decode(refs, keep_av_open=True)
        same(frames[0], picture)
        same(frames[1], shown(0))
    """,
    "batch_decode(refs, allow_images=, allow_multi_video=, allow_gap=, gap_threshold=)": """
        from mediaref import MediaRef, batch_decode

        image, first = MediaRef(uri="image.png"), MediaRef(uri="video.mp4", pts_ns=0)
        other, late = MediaRef(uri="episode.mp4", pts_ns=0), MediaRef(uri="video.mp4", pts_ns=3_000_000_000)
        frames = batch_decode([image, other, late], allow_images=True, allow_multi_video=True)
        same(frames[0], picture)
        same(frames[1], shown(0))
        same(frames[2], shown(3_000_000_000))
        near = batch_decode([first, late], gap_threshold=5.0, allow_gap=False)
        same(near, [shown(0), shown(3_000_000_000)])
        for refs, forbidden in (
            ([image, first], {"allow_images": False}),
            ([first, other], {"allow_multi_video": False}),
            ([late, first], {"allow_gap": False}),
        ):
            with pytest.raises(ValueError, match="=False"):
                batch_decode(refs, **forbidden)
    """,
    "PyAVVideoDecoder: frames by number": """
        from mediaref.video_decoder import BatchDecodingStrategy, FrameBatch, PyAVVideoDecoder

        decoder = PyAVVideoDecoder("video.mp4")
        batch = decoder.get_frames_at([0, 10, 20, 30], strategy=BatchDecodingStrategy.SEPARATE)
        assert isinstance(batch, FrameBatch)
        same_batch(batch, [0, 10, 20, 30])
        same_batch(decoder.get_frames_at([2, 1, 1]), [2, 1, 1])
        same(decoder[0], frames[0].rgb.transpose(2, 0, 1))
        same(decoder[10:20], np.stack([frame.rgb.transpose(2, 0, 1) for frame in frames[10:20]]))
        same(decoder[::10], np.stack([frame.rgb.transpose(2, 0, 1) for frame in frames[::10]]))
        decoder.close()
        decoder.close()
    """,
    "PyAVVideoDecoder: frames by time": """
        from mediaref.video_decoder import BatchDecodingStrategy, PyAVVideoDecoder

        with PyAVVideoDecoder("video.mp4") as decoder:
            same_batch(decoder.get_frames_played_at([0.0, 1.0, 2.0]), [0, 5, 10])
            sequential = BatchDecodingStrategy.SEQUENTIAL
            same_batch(decoder.get_frames_played_at([2.1, 0.1], strategy=sequential), [10, 0])
            assert decoder.get_frames_played_at([]).data.shape == (0, 3, 64, 96)
            for seconds in (-1.0, 1e6):
                with pytest.raises(ValueError):
                    decoder.get_frames_played_at([seconds])
    """,
    "PyAVVideoDecoder: ranges of time": """
        from mediaref.video_decoder import PyAVVideoDecoder

        with PyAVVideoDecoder("video.mp4") as decoder:
            same_batch(decoder.get_frames_played_in_range(0.0, 2.0), range(10))
            resampled = decoder.get_frames_played_in_range(0.0, 2.0, fps=2.5)
            same(resampled.data, decoder.get_frames_at([0, 2, 4, 6, 8]).data)
            with pytest.raises(ValueError):
                decoder.get_frames_played_in_range(2.0, 1.0)
    """,
    "PyAVVideoDecoder.metadata": """
        from fractions import Fraction
        from mediaref.video_decoder import PyAVVideoDecoder, VideoStreamMetadata

        metadata = PyAVVideoDecoder("video.mp4").metadata
        assert isinstance(metadata, VideoStreamMetadata)
        assert (metadata.num_frames, metadata.width, metadata.height) == (48, 96, 64)
        assert metadata.duration_seconds == Fraction(48, 5)
        assert metadata.average_rate == 5
    """,
    "TorchCodecVideoDecoder(source)": """
        torchcodec_or_skip()
        from mediaref.video_decoder import TorchCodecVideoDecoder

        with TorchCodecVideoDecoder("video.mp4") as decoder:
            same_batch(decoder.get_frames_played_at([0.1, 1.1, 2.1]), [0, 5, 10], levels=2)
            same_batch(decoder.get_frames_at([0, 10, 20]), [0, 10, 20], levels=2)
            same_batch(decoder.get_frames_played_in_range(1.0, 2.0), range(5, 10), levels=2)
        decoder.close()
    """,
    "FrameBatch(data=, pts_seconds=, duration_seconds=)": """
        from mediaref.video_decoder import FrameBatch

        data = np.random.default_rng(0).integers(0, 255, (10, 3, 72, 128), dtype=np.uint8)
        times = np.linspace(0, 1, 10, dtype=np.float64)
        batch = FrameBatch(data=data, pts_seconds=times, duration_seconds=np.full(10, 0.1))
        same(batch.data, data)
        assert batch.pts_seconds is times and batch.duration_seconds.tolist() == [0.1] * 10
        assert "(10, 3, 72, 128)" in repr(batch)
    """,
    "VideoStreamMetadata(num_frames=, ...)": """
        from fractions import Fraction
        from mediaref.video_decoder import VideoStreamMetadata

        metadata = VideoStreamMetadata(
            num_frames=300, duration_seconds=Fraction(10), average_rate=Fraction(30), width=1920, height=1080
        )
        assert float(metadata.average_rate) == 30.0
        assert getattr(metadata, "end_stream_seconds", 10) == 10
    """,
    "mediaref.compat.lerobot": """
        from mediaref import MediaRef
        from mediaref.compat.lerobot import from_videoframe, lerobot_episode_to_refs, to_videoframe

        ref = from_videoframe({"path": "videos/clip.mp4", "timestamp": 0.5})
        assert ref == MediaRef(uri="videos/clip.mp4", pts_ns=500_000_000)
        assert to_videoframe(ref) == {"path": "videos/clip.mp4", "timestamp": 0.5}
        refs = lerobot_episode_to_refs(
            video_path="videos/chunk-000/file-000.mp4",
            from_timestamp=12.34,
            frame_timestamps=[0.0, 1 / 30, 2 / 30],
        )
        assert [ref.pts_ns for ref in refs] == [12_340_000_000, 12_373_333_333, 12_406_666_667]
        with pytest.raises(ValueError):
            to_videoframe(MediaRef(uri="image.png"))
    """,
    "mediaref.hf.MediaRefFeature": """
        datasets = pytest.importorskip("datasets")
        from mediaref import MediaRef
        from mediaref.hf import MediaRefFeature

        refs = [MediaRef(uri="video.mp4", pts_ns=0), MediaRef(uri="video.mp4", pts_ns=33_333_333)]
        features = datasets.Features({"frame": MediaRefFeature()})
        datasets.Dataset.from_dict({"frame": refs}, features=features).save_to_disk("dataset")
        same(datasets.load_from_disk("dataset")[0]["frame"].to_ndarray(), shown(0))
    """,
    "mediaref.decoders, get_frame_at_pts_ns()": """
        from mediaref.decoders import PyAVVideoDecoder, TorchCodecVideoDecoder

        with PyAVVideoDecoder("episode.mp4") as decoder:
            frame = decoder.get_frame_at_pts_ns(1_500_000_000)
        same(frame, shown(1_500_000_000).transpose(2, 0, 1))
    """,
}
"""Calls of the READMEs and API pages of ``mediaref`` 0.4.4 and 1.1.0, as a user of theirs writes them."""

NOT_HERE = {
    "mediaref.decoders, get_frame_at_pts_ns()": "in the API page of mediaref 1.1.0, and not in its package",
}
"""Calls that do not run here; the page says so of their names."""

TORCHCODEC_CALLS = {
    "len(decoder)": len,
    "decoder[i]": lambda decoder: [decoder[i] for i in (0, -1, np.int64(7))],
    "decoder[a:b:c]": lambda decoder: [decoder[0:-1:20], decoder[5:5], decoder[:]],
    "iteration": list,
    "get_frame_at(index)": lambda decoder: [decoder.get_frame_at(i) for i in (0, 5, len(decoder) - 1, -1)],
    "get_frames_at(indices)": lambda decoder: decoder.get_frames_at([10, 0, 10, -2]),
    "get_frames_at(tensor)": lambda decoder: decoder.get_frames_at(import_torch().tensor([3, 1])),
    "get_frames_in_range(start, stop, step)": lambda decoder: [
        decoder.get_frames_in_range(10, 30, 5),
        decoder.get_frames_in_range(start=40, stop=1000),
        decoder.get_frames_in_range(-4, 1000),
        decoder.get_frames_in_range(7, 7),
    ],
    "get_frame_played_at(seconds)": lambda decoder: [decoder.get_frame_played_at(s) for s in (0, 0.5, 1.9)],
    "get_frames_played_at(seconds)": lambda decoder: [
        decoder.get_frames_played_at([1.5, 0.01, 0.5]),
        decoder.get_frames_played_at(seconds=import_torch().tensor([0.25, 1.25])),
        decoder.get_frames_played_at([]),
    ],
    "get_frames_played_in_range(start_seconds, stop_seconds, fps)": lambda decoder: [
        decoder.get_frames_played_in_range(0.5, 1.0),
        decoder.get_frames_played_in_range(start_seconds=0.11, stop_seconds=0.9),
        decoder.get_frames_played_in_range(0.5, 1.5, fps=10),
        decoder.get_frames_played_in_range(1.0, 1.0),
    ],
    "get_all_frames(fps)": lambda decoder: [decoder.get_all_frames(), decoder.get_all_frames(fps=12.5)],
    "metadata": lambda decoder: {
        name: getattr(decoder.metadata, name)
        for name in ("num_frames", "width", "height", "codec", "begin_stream_seconds", "pixel_format")
    },
}
"""Calls of ``torchcodec.decoders.VideoDecoder``, and what of their results is compared."""

TORCHCODEC_OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "dimension_order": {"dimension_order": "NHWC"},
    "device, num_ffmpeg_threads": {"device": "cpu", "num_ffmpeg_threads": 2},
    "seek_mode": {"seek_mode": "approximate"},
    "stream_index": {"stream_index": 0},
}

TORCHCODEC_ERRORS: dict[str, Callable[[Any], Any]] = {
    "decoder[48]": lambda decoder: decoder[48],
    "decoder[-49]": lambda decoder: decoder[-49],
    "decoder['a']": lambda decoder: decoder["a"],
    "get_frame_at(48)": lambda decoder: decoder.get_frame_at(48),
    "get_frames_at([0, 48])": lambda decoder: decoder.get_frames_at([0, 48]),
    "get_frame_played_at(-1)": lambda decoder: decoder.get_frame_played_at(-1),
    "get_frame_played_at(1.92)": lambda decoder: decoder.get_frame_played_at(1.92),
    "get_frames_in_range(0, 5, 0)": lambda decoder: decoder.get_frames_in_range(0, 5, 0),
    "get_frames_played_in_range(1, 0)": lambda decoder: decoder.get_frames_played_in_range(1, 0),
    "get_frames_played_in_range(-1, 1)": lambda decoder: decoder.get_frames_played_in_range(-1, 1),
    "get_frames_played_in_range(0, 99)": lambda decoder: decoder.get_frames_played_in_range(0, 99),
}

EXPORTS = {
    "": "DataURI MediaRef __version__ batch_decode cleanup_cache",
    "batch": "DecoderBackend batch_decode cleanup_cache",
    "cached_av": "cleanup_cache open",
    "compat.lerobot": "from_videoframe lerobot_episode_to_refs to_videoframe",
    "core": "MediaRef",
    "data_uri": "DataURI",
    "hf": "MediaRefFeature",
    "resource_cache": "ResourceCache",
    "video_decoder": (
        "BaseVideoDecoder BatchDecodingStrategy CodecVideoDecoder FrameBatch PyAVVideoDecoder "
        "TensorCodecVideoDecoder TorchCodecVideoDecoder VideoStreamMetadata"
    ),
    "video_decoder.base": "BaseVideoDecoder",
    "video_decoder.codec_decoder": "CodecVideoDecoder",
    "video_decoder.frame_batch": "FrameBatch",
    "video_decoder.pyav_decoder": "PyAVVideoDecoder clear_metadata_cache",
    "video_decoder.tensorcodec_decoder": "TensorCodecVideoDecoder",
    "video_decoder.torchcodec_decoder": "TorchCodecVideoDecoder",
    "video_decoder.types": "BatchDecodingStrategy PTSUnit SECOND_TYPE VideoStreamMetadata",
}
"""What the modules of ``mediaref`` 0.4.4, 1.1.0 and 2.1.0 export, all together."""

MEMBERS = {
    "DataURI": (
        "data decoded_data from_file from_image from_uri is_base64 is_image mimetype to_ndarray "
        "to_pil_image uri"
    ),
    "MediaRef": (
        "is_cloud_uri is_embedded is_relative_path is_remote is_video model_dump model_dump_json "
        "model_validate model_validate_json pts_ns resolve_relative_path to_ndarray to_pil_image uri "
        "validate_uri"
    ),
    "video_decoder.BatchDecodingStrategy": "SEPARATE SEQUENTIAL SEQUENTIAL_PER_KEYFRAME_BLOCK",
    "video_decoder.CodecVideoDecoder": "clear_cache",
    "video_decoder.FrameBatch": "data duration_seconds pixel_format pts_seconds",
    "video_decoder.PyAVVideoDecoder": (
        "__getitem__ close get_frames_at get_frames_played_at get_frames_played_in_range metadata"
    ),
    "video_decoder.VideoStreamMetadata": (
        "average_rate begin_stream_seconds duration_seconds end_stream_seconds height num_frames "
        "pixel_format width"
    ),
}
"""What their classes have that is public."""

NAMES = [
    ".".join(filter(None, (home, name)))
    for home, names in {**EXPORTS, **MEMBERS}.items()
    for name in names.split()
]

_VIDEO_DECODER_NAMES = (
    "__getitem__ __iter__ __len__ cpu_fallback get_all_frames get_frame_at get_frame_played_at get_frames_at "
    "get_frames_in_range get_frames_played_at get_frames_played_in_range metadata stream_index"
)
VIDEO_DECODER_NAMES = _VIDEO_DECODER_NAMES.split()
"""What ``torchcodec.decoders.VideoDecoder`` 0.13 has that is public."""

_VIDEO_DECODER_METADATA = (
    "average_fps average_fps_from_header begin_stream_seconds begin_stream_seconds_from_content "
    "begin_stream_seconds_from_header bit_rate codec color_primaries color_space "
    "color_transfer_characteristic duration_seconds duration_seconds_from_header end_stream_seconds "
    "end_stream_seconds_from_content height num_frames num_frames_from_content num_frames_from_header "
    "pixel_aspect_ratio pixel_format rotation stream_index width"
)
VIDEO_DECODER_METADATA = _VIDEO_DECODER_METADATA.split()
"""What the metadata of TorchCodec 0.13 has."""


def import_torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def torchcodec_or_skip() -> Any:
    """Return TorchCodec's decoder class, where it works."""
    import_torch()
    try:
        from torchcodec.decoders import VideoDecoder
    except ModuleNotFoundError:
        pytest.skip("torchcodec is not installed")
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchcodec cannot load FFmpeg: {error!s:.80}")
    return VideoDecoder


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the calls name: a video of 48 frames, five a second, and a picture."""
    folder = tmp_path_factory.mktemp("migration")
    encode(folder / "video.mp4", replace(H264_IDR, ticks=lambda number: 5 * number))
    (folder / "episode.mp4").write_bytes((folder / "video.mp4").read_bytes())
    image = Image.fromarray(make_picture(200, 40, 32))
    image.save(folder / "image.png")
    image.save(folder / "photo.png")
    image.save(folder / "image.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def frames(media: Path) -> list[OracleFrame]:
    return linear_frames(media / "video.mp4")


@pytest.fixture
def helpers(media: Path, frames: list[OracleFrame], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a call finds at hand; it runs beside its files."""
    monkeypatch.chdir(media)

    def same_batch(batch: Any, numbers: Any, levels: int = 0) -> None:
        expected = [frames[number] for number in numbers]
        same(batch.data, np.stack([frame.rgb.transpose(2, 0, 1) for frame in expected]), levels)
        same_times(batch.pts_seconds, [frame.time for frame in expected])
        same_times(batch.duration_seconds, [0.2] * len(expected))

    return {
        "folder": str(media),
        "frames": frames,
        "luma": lambda rgb: np.rint(rgb @ [0.299, 0.587, 0.114]).astype(np.uint8),
        "np": np,
        "picture": make_picture(200, 40, 32),
        "pytest": pytest,
        "same": same,
        "same_batch": same_batch,
        "shown": lambda t_ns: frames[shown_at(frames, t_ns)].rgb,
        "torchcodec_or_skip": torchcodec_or_skip,
        "with_alpha": lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    }


def same(found: Any, expected: Any, levels: int = 0) -> None:
    """Hold one array of pixels, or a list of them, against what a linear decode gives."""
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, levels)
        return
    pixels = np.asarray(found)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max(initial=0) <= levels


def same_times(found: Any, expected: Any) -> None:
    times = np.asarray(found)
    assert times.dtype == np.float64
    assert np.allclose(times, [float(time) for time in expected], rtol=0, atol=1e-9)


def run(name: str, helpers: dict[str, Any], **places: str) -> None:
    """Run a call after ``s/mediaref/mediaref_ursa/``."""
    code = re.sub(r"\bmediaref\b", "mediaref_ursa", CALLS[name])
    for place, stands_for in places.items():
        code = code.replace(place, stands_for)
    exec("if True:" + code, dict(helpers))


def marked(name: str) -> Any:
    marks = [pytest.mark.xfail(reason=NOT_HERE[name], raises=ImportError)] if name in NOT_HERE else []
    return pytest.param(name, marks=marks)


ELSEWHERE = {"MediaRef over http", "MediaRef in a cloud store"}


@pytest.mark.parametrize("name", [marked(name) for name in CALLS if name not in ELSEWHERE])
def test_a_call_runs_unchanged(name: str, helpers: dict[str, Any]) -> None:
    run(name, helpers)


def test_a_call_over_http(helpers: dict[str, Any], media: Path) -> None:
    objects = {f"/{path.name}": path.read_bytes() for path in media.iterdir() if path.is_file()}
    with ObjectServer(objects) as server:
        run("MediaRef over http", helpers, **{"https://example.com": f"http://127.0.0.1:{server.port}"})


def test_a_call_to_a_cloud_store(
    helpers: dict[str, Any], media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    for name in ("video.mp4", "image.png"):
        bucket.put(name, (media / name).read_bytes())
    run("MediaRef in a cloud store", helpers, **{"my-bucket": bucket.name})


def import_name(dotted: str) -> Any:
    """Return what stands here under a name of ``mediaref``, given without ``mediaref.``.

    Raises:
        AttributeError: The module, or a class, has no such name.
        ImportError: There is no such module.
    """
    parts = dotted.split(".")
    found: Any = importlib.import_module("mediaref_ursa")
    for number, part in enumerate(parts, start=1):
        if not hasattr(found, part) and hasattr(found, "__path__"):
            found = importlib.import_module(".".join(["mediaref_ursa", *parts[:number]]))
        elif isinstance(getattr(found, "model_fields", None), dict) and part in found.model_fields:
            found = found.model_fields[part]
        elif part in getattr(found, "__dataclass_fields__", {}):
            found = found.__dataclass_fields__[part]
        else:
            found = getattr(found, part)
    return found


def page_rows() -> dict[str, tuple[str, str]]:
    """Return what the page's tables say of each name: is it here, and what differs."""
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                assert name not in rows, f"{name} stands in the page twice"
                rows[name] = (cells[1], cells[2])
    return rows


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_here_or_the_page_says_why_not(name: str) -> None:
    here, difference = page_rows()[name]
    if here == "missing":
        with pytest.raises((ImportError, AttributeError)):
            import_name(name)
        assert len(difference) > 20, "say why"
    elif name.startswith("hf.") and find_spec("datasets") is None:
        pytest.skip("datasets (Hugging Face) is not installed")
    else:
        assert import_name(name) is not None


def test_the_page_lists_no_other_names() -> None:
    """A name that nobody exports would be a slip of the pen."""
    theirs = [*NAMES, *(f"VideoDecoder.{name}" for name in VIDEO_DECODER_NAMES)]
    theirs += [f"VideoStreamMetadata.{name}" for name in VIDEO_DECODER_METADATA]
    assert set(page_rows()) <= {*theirs, "VideoDecoder", *PAGE_ONLY}


PAGE_ONLY = {"mediaref enable-hf-feature", "mediaref disable-hf-feature", "mediaref status", "decoders"}
"""Commands, and a module that is described but not there."""


@pytest.mark.parametrize("home", [home for home in EXPORTS if home.startswith("video_decoder")])
def test_names_imported_from_deep_inside_are_the_public_ones(home: str) -> None:
    public = importlib.import_module("mediaref_ursa.video_decoder")
    for name in EXPORTS[home].split():
        if page_rows()[f"{home}.{name}"][0] != "missing" and hasattr(public, name):
            assert import_name(f"{home}.{name}") is getattr(public, name)


def test_the_names_are_those_of_torchcodec() -> None:
    theirs = torchcodec_or_skip()
    import torchcodec
    from torchcodec.decoders import VideoStreamMetadata

    if not torchcodec.__version__.startswith("0.13."):
        pytest.skip(f"the page speaks of TorchCodec 0.13, found {torchcodec.__version__}")
    missing = {name for name in VIDEO_DECODER_NAMES if not hasattr(theirs, name)}
    assert missing <= {"metadata", "stream_index", "__iter__"}  # of an instance, or by __getitem__
    assert set(VIDEO_DECODER_METADATA) == set(VideoStreamMetadata.__dataclass_fields__)


@pytest.mark.parametrize("name", VIDEO_DECODER_NAMES)
def test_a_name_of_torchcodec_is_here_or_the_page_says_why_not(
    name: str, clip: Callable[[str], Clip]
) -> None:
    torchcodec_or_skip()
    from mediaref_ursa.video_decoder import TorchCodecVideoDecoder

    decoder = TorchCodecVideoDecoder(clip("h264_pyramid_mp4").path)
    assert (page_rows()[f"VideoDecoder.{name}"][0] == "missing") == (not hasattr(decoder, name))


@pytest.mark.parametrize("name", VIDEO_DECODER_METADATA)
def test_metadata_of_torchcodec_is_here_or_the_page_says_why_not(
    name: str, clip: Callable[[str], Clip]
) -> None:
    from mediaref_ursa.video_decoder import PyAVVideoDecoder

    metadata = PyAVVideoDecoder(clip("h264_pyramid_mp4").path).metadata
    assert (page_rows()[f"VideoStreamMetadata.{name}"][0] == "missing") == (not hasattr(metadata, name))


def both_decoders(source: Any, **options: Any) -> tuple[Any, Any]:
    """Return TorchCodec's decoder of a source, and the one that stands in for it here."""
    theirs = torchcodec_or_skip()
    from mediaref_ursa.video_decoder import TorchCodecVideoDecoder

    return theirs(source, **options), TorchCodecVideoDecoder(source, **options)


def assert_alike(found: Any, expected: Any) -> None:
    """Hold a result against TorchCodec's: the same tensors, to the bit, and times."""
    torch = import_torch()
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if expected.dtype == torch.uint8:
            assert torch.equal(found, expected)
        else:
            assert torch.allclose(found, expected, rtol=0, atol=1e-9)
    elif hasattr(expected, "pts_seconds"):
        assert type(found).__name__ == type(expected).__name__
        for name in ("data", "pts_seconds", "duration_seconds"):
            assert_alike(getattr(found, name), getattr(expected, name))
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert float(found) == pytest.approx(expected, rel=0, abs=1e-9)
    else:
        assert found == expected


@pytest.mark.parametrize("options", TORCHCODEC_OPTIONS)
@pytest.mark.parametrize("name", TORCHCODEC_CALLS)
def test_a_call_of_torchcodec_gives_the_same(name: str, options: str, clip: Callable[[str], Clip]) -> None:
    theirs, ours = both_decoders(clip("h264_pyramid_mp4").path, **TORCHCODEC_OPTIONS[options])
    call = TORCHCODEC_CALLS[name]
    assert_alike(call(ours), call(theirs))


@pytest.mark.parametrize("name", TORCHCODEC_ERRORS)
def test_what_torchcodec_refuses_is_refused_alike(name: str, clip: Callable[[str], Clip]) -> None:
    theirs, ours = both_decoders(clip("h264_pyramid_mp4").path)
    with pytest.raises((IndexError, ValueError, TypeError)) as refused:
        TORCHCODEC_ERRORS[name](theirs)
    with pytest.raises(refused.type):
        TORCHCODEC_ERRORS[name](ours)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("get_frames_played_at([99.0])", IndexError),
        ("get_frames_played_at([-1.0])", ValueError),
        ("get_frames_played_in_range(0, 1, fps=0)", ValueError),
        ("get_frames_in_range(5, 0, -1)", ValueError),
        ("get_frames_at([1.5])", TypeError),
        ("get_frames_at([])", 0),
        ("get_frames_in_range(5, 2)", 0),
        ("[::-1]", 48),
    ],
)
def test_where_torchcodec_answers_with_a_runtime_error(
    name: str, answer: Any, clip: Callable[[str], Clip]
) -> None:
    theirs, ours = both_decoders(clip("h264_pyramid_mp4").path)
    call = name if name.startswith("[") else f".{name}"
    with pytest.raises(RuntimeError):
        eval(f"decoder{call}", {"decoder": theirs})
    if isinstance(answer, int):
        assert len(eval(f"decoder{call}", {"decoder": ours})) == answer
    else:
        with pytest.raises(answer):
            eval(f"decoder{call}", {"decoder": ours})


def test_sources_and_options_of_torchcodec(clip: Callable[[str], Clip]) -> None:
    torch = import_torch()
    path = clip("h264_pyramid_mp4").path
    data = path.read_bytes()
    for source in (str(path), path, data, torch.frombuffer(bytearray(data), dtype=torch.uint8)):
        theirs, ours = both_decoders(source)
        assert_alike(ours[-1], theirs[-1])
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for source in (file, raw):
            theirs, ours = both_decoders(source)
            assert_alike(ours.get_frames_at([40, 3]), theirs.get_frames_at([40, 3]))
    mappings = json.dumps(
        {"frames": [{"pts": 512 * i, "duration": 512, "key_frame": int(i % 12 == 0)} for i in range(48)]}
    )
    theirs, ours = both_decoders(path, custom_frame_mappings=mappings)
    assert_alike(ours.get_frames_at([40, 3]), theirs.get_frames_at([40, 3]))


def test_transforms_of_torchcodec(clip: Callable[[str], Clip]) -> None:
    torchcodec_or_skip()
    from torchcodec.transforms import CenterCrop, Resize

    for transforms in ([Resize((32, 48))], [CenterCrop((40, 40)), Resize((20, 30))]):
        theirs, ours = both_decoders(clip("h264_pyramid_mp4").path, transforms=transforms)
        assert_alike(ours.get_frames_at([40, 3]), theirs.get_frames_at([40, 3]))


@pytest.fixture
def page_folder(example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in example_files.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page_blocks() -> Iterator[Any]:
    """Yield the page's Python blocks, those that need TorchCodec too, which test_docs.py leaves out."""
    yield from (block for block in blocks_of(PAGE) if block.words[:1] == ("python",))


def test_what_the_page_says_of_torchcodec(page_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torchcodec_or_skip()
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in page_blocks():
        run_block(block, namespace)
    printed = re.findall(r"(\w+): (\d+) of (\d+) frames are wrong", capsys.readouterr().out)
    wrong = {name: int(count) for name, count, _ in printed}
    assert wrong["mediaref_ursa"] == 0
    assert wrong["torchcodec"] > 35, "TorchCodec has learnt to see through this: tell so in the page"


URSA_PAGE = ROOT / "docs" / "migrating-from-ursa.md"
URSA_HOOKS = {
    "_DEFAULT_CACHE_DIR",
    "_DEFAULT_CACHE_QUOTA_GB",
    "_reset_cache_for_tests",
    "_probe_segment",
    "_load_frames",
    "_ensure_pts_table",
    "_empty_frames_array",
    "_resolve_segment_path",
}
"""Private names of the lazy MP4 reader that tests of programs patch."""


def ursa_rows() -> list[tuple[list[str], list[str], str]]:
    """Return the names of each row, where they are, and what differs."""
    lines = URSA_PAGE.read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    return [
        (re.findall(r"`([^`]+)`", row[0]), re.findall(r"`([^`]+)`", row[1]) or [row[1]], row[2])
        for row in cells
    ]


@pytest.mark.parametrize("row", ursa_rows(), ids=lambda row: row[0][0])
def test_names_of_the_lazy_reader_are_where_its_page_says(row: tuple[list[str], list[str], str]) -> None:
    names, here, difference = row
    if here == ["missing"]:
        assert len(difference) > 40, "say why, and what to write instead"
        return
    assert len(here) == len(names)
    for name, home in zip(names, here, strict=True):
        assert home.endswith(f".{name}")
        assert import_name(home.removeprefix("mediaref_ursa.")) is not None


def test_the_page_of_the_lazy_reader_has_every_hook() -> None:
    named = [name for names, _, _ in ursa_rows() for name in names]
    assert set(named) >= URSA_HOOKS
    assert len(named) == len(set(named))
