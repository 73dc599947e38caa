"""Cloud stores: S3 as it is served on loopback, and what every other kind shares with it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import importlib
import importlib.util
import pickle
import re
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import botocore.exceptions
import fsspec
import pytest
from _http_server import Fault, ObjectServer
from _s3 import SECRET_KEY, Bucket, checked_credentials, leave_aws_alone, new_bucket
from s3fs.errors import ERROR_CODE_TO_EXCEPTION, translate_boto_error

import mediaref_ursa.store._fsspec.filesystems as filesystems
from mediaref_ursa import (
    InvalidReferenceError,
    LanceFrameIndex,
    LazyVideo,
    MediaChangedError,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    MissingExtraError,
    StoreError,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa.store import FsspecStore, store_for
from mediaref_ursa.store._download.retry import TransientError
from mediaref_ursa.store._fsspec.errors import mapped_errors
from mediaref_ursa.video_decoder import PyAVVideoDecoder

DATA = bytes(range(256)) * 400
ONCE = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2, "read_timeout": 2}}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return new_bucket(monkeypatch)


class _Recorder:
    """Stands before the file system of S3 and notes what is read."""

    def __init__(self, filesystem: Any) -> None:
        self.filesystem = filesystem
        self.reads: list[tuple[int, int]] = []

    async def _call_s3(self, method: str, **asked: Any) -> Any:
        first, last = asked["Range"].removeprefix("bytes=").split("-")
        self.reads.append((int(first), int(last) - int(first) + 1))
        await asyncio.sleep(0.01)
        return await self.filesystem._call_s3(method, **asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.filesystem, name)


def _answering(body: bytes) -> Any:
    """Return what stands for a call of S3 whose answer has another body than its header says."""

    async def call(method: str, **asked: Any) -> dict[str, Any]:
        chunks = [body[begin : begin + 50_000] for begin in range(0, len(body), 50_000)] + [b""]
        read = AsyncMock(side_effect=chunks)
        return {
            "ResponseMetadata": {"HTTPStatusCode": 206},
            "ContentRange": f"bytes {asked['Range'].removeprefix('bytes=')}/{len(DATA)}",
            "Body": SimpleNamespace(read=read, close=lambda: None),
        }

    return call


@pytest.fixture
def recorder(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    found = _Recorder(fsspec.filesystem("s3", **bucket.options, skip_instance_cache=True))
    monkeypatch.setattr("mediaref_ursa.store._fsspec.fsspec_store.shared_filesystem", lambda *_: found)
    return found


class TestStoreFor:
    @pytest.mark.parametrize("scheme", ["s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf", "oss"])
    def test_cloud_schemes(self, scheme: str) -> None:
        assert store_for(f"{scheme.upper()}://b/a.mp4", {"token": "x"}) == FsspecStore(scheme, {"token": "x"})
        assert store_for("memory://a") == FsspecStore("memory")

    def test_r2_without_an_account_is_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leave_aws_alone(monkeypatch)
        with pytest.raises(InvalidReferenceError, match="R2_ACCOUNT_ID") as caught:
            store_for("r2://b/a.mp4")
        assert caught.value.uri == "r2://b/a.mp4"
        monkeypatch.setenv("R2_ACCOUNT_ID", "abc")
        assert store_for("r2://b/a.mp4") == FsspecStore("r2")

    def test_contradictions_are_told_at_once(self) -> None:
        with pytest.raises(ValueError, match="expected one 'secret'"):
            store_for("s3://b/a", {"secret": "a", "aws_secret_access_key": "b"})

    def test_importing_the_package_loads_no_fsspec(self) -> None:
        code = (
            "import sys, mediaref_ursa.store; mediaref_ursa.store.store_for('a.mp4');"
            "sys.exit('fsspec' in sys.modules or 'requests' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestValue:
    OPTIONS = {"secret": "hidden", "client_kwargs": {"region_name": "r", "x": [1]}, "key": "AKIA"}  # noqa: RUF012

    def test_equal_by_value_and_hashable(self) -> None:
        one, other = FsspecStore("s3", self.OPTIONS), FsspecStore("S3", dict(reversed(self.OPTIONS.items())))
        assert one == other
        assert hash(one) == hash(other)
        assert one != FsspecStore("s3")
        assert len({one, other, FsspecStore("s3", one.options)}) == 1
        assert [name for name, _ in one.options] == ["client_kwargs", "key", "secret"]

    def test_pickled_and_copied(self) -> None:
        store = FsspecStore("s3", self.OPTIONS, max_requests=3)
        for twin in (pickle.loads(pickle.dumps(store)), copy.deepcopy(store), copy.copy(store)):
            assert (twin, hash(twin), twin.max_requests) == (store, hash(store), 3)

    def test_nothing_but_options_is_pickled(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("R2_ENDPOINT_URL", bucket.endpoint_url)
        monkeypatch.setenv("R2_ACCESS_KEY_ID", "from-the-environment")
        monkeypatch.setenv("R2_SECRET_ACCESS_KEY", SECRET_KEY)
        store = store_for(f"r2://{bucket.name}/a")
        before = pickle.dumps(store)
        assert store.get(bucket.put("a", b"abc").replace("s3://", "r2://")) == b"abc"
        assert pickle.dumps(store) == before
        assert SECRET_KEY.encode() not in before

    def test_the_representation_shows_names_only(self) -> None:
        shown = repr(FsspecStore("s3", self.OPTIONS))
        assert shown == "FsspecStore('s3', options of the names: client_kwargs, key, secret)"
        assert repr(FsspecStore("s3")) == "FsspecStore('s3', options of the names: none)"

    def test_another_scheme_is_refused(self) -> None:
        for uri in ("gs://b/a", "a.mp4", "http://h/a"):
            with pytest.raises(InvalidReferenceError, match="expected a URI of the scheme s3://"):
                FsspecStore("s3").get(uri)

    def test_an_unknown_protocol(self) -> None:
        with pytest.raises(InvalidReferenceError, match="fsspec knows no file system for nonsense://"):
            FsspecStore("nonsense").head("nonsense://a")


class TestS3:
    def test_head(self, bucket: Bucket) -> None:
        uri = bucket.put("a.bin", DATA)
        info = store_for(uri, bucket.options).head(uri)
        told = bucket.client().head_object(Bucket=bucket.name, Key="a.bin")
        assert (info.size, info.etag) == (len(DATA), told["ETag"])
        assert info.modified == told["LastModified"].timestamp()

    def test_head_tells_of_changes(self, bucket: Bucket) -> None:
        store = FsspecStore("s3", bucket.options)
        before = store.head(bucket.put("a.bin", b"one"))
        after = store.head(bucket.put("a.bin", b"other"))
        assert before.etag != after.etag
        assert after.size == 5

    @pytest.mark.parametrize("scheme", ["s3", "s3a", "r2"])
    @pytest.mark.parametrize("spelling", ["options", "object_store_options"])
    def test_every_scheme_and_spelling(self, bucket: Bucket, scheme: str, spelling: str) -> None:
        uri = bucket.put("k/a.bin", DATA).replace("s3://", f"{scheme}://")
        assert store_for(uri, getattr(bucket, spelling)).get_range(uri, 5, 10) == DATA[5:15]

    @pytest.mark.parametrize("key", ["a%20b", "a b", "50%", "a#b", "Ü/東京", "a+b", "a//b"])
    def test_keys_are_taken_letter_for_letter(self, bucket: Bucket, key: str) -> None:
        store = FsspecStore("s3", bucket.options)
        assert store.get(bucket.put(key, key.encode())) == key.encode()

    def test_credentials_of_the_environment(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        uri = bucket.put("a.bin", DATA)
        with pytest.raises(StoreError, match="credentials in storage_options or in the environment"):
            store_for(uri).head(uri)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        assert store_for(uri).get(uri) == DATA

    def test_a_whole_object_in_several_reads(self, bucket: Bucket, recorder: _Recorder) -> None:
        store = FsspecStore("s3", bucket.options, max_read_bytes=30_000)
        assert store.get(bucket.put("a.bin", DATA)) == DATA
        assert sorted(recorder.reads) == [(0, 30_000), (30_000, 30_000), (60_000, 30_000), (90_000, 12_400)]

    def test_neighbours_are_one_request(self, bucket: Bucket, recorder: _Recorder) -> None:
        store = FsspecStore("s3", bucket.options, max_gap_bytes=100)
        ranges = [(50_000, 10), (0, 10), (110, 5), (0, 0), (112, 50)]
        found = store.get_ranges(bucket.put("a.bin", DATA), ranges)
        assert found == [DATA[offset : offset + length] for offset, length in ranges]
        assert sorted(recorder.reads) == [(0, 162), (50_000, 10)]

    def test_no_bytes_need_no_request(self, bucket: Bucket, recorder: _Recorder) -> None:
        assert FsspecStore("s3", bucket.options).get_ranges(f"s3://{bucket.name}/a", [(5, 0), (0, 0)]) == [
            b"",
            b"",
        ]
        assert recorder.reads == []

    def test_the_range_that_is_wrong_is_named(self, bucket: Bucket) -> None:
        uri = bucket.put("a.bin", b"abcdef")
        with pytest.raises(StoreError, match="expected 4 bytes at offset 4, found 2: the object has 6 bytes"):
            FsspecStore("s3", bucket.options).get_ranges(uri, [(0, 2), (4, 4), (1, 1)])

    @pytest.mark.parametrize("body", [b"", b"abc", DATA], ids=len)
    def test_short_and_long_reads(
        self, bucket: Bucket, recorder: _Recorder, monkeypatch: pytest.MonkeyPatch, body: bytes
    ) -> None:
        monkeypatch.setattr(recorder, "_call_s3", _answering(body))
        store, uri = (
            FsspecStore("s3", bucket.options, attempts=2, backoff_seconds=0.001),
            bucket.put("a", DATA),
        )
        with pytest.raises(StoreError, match=r"expected a body of 10 bytes, found \w+ \(attempt 2"):
            store.get_range(uri, 5, 10)

    def test_eight_threads_share_one_file_system(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []
        make = fsspec.filesystem
        monkeypatch.setattr(fsspec, "filesystem", lambda *a, **k: made.append(make(*a, **k)) or made[-1])
        monkeypatch.setattr(filesystems, "_filesystems", filesystems._Filesystems())
        store, uri = FsspecStore("s3", bucket.options), bucket.put("a.bin", DATA)
        with ThreadPoolExecutor(8) as pool:
            asked = [[(i * 97 + step * 7000, 50) for step in range(4)] for i in range(48)]
            found = list(pool.map(lambda ranges: store.get_ranges(uri, ranges), asked))
        assert found == [[DATA[offset : offset + length] for offset, length in ranges] for ranges in asked]
        assert len(made) == 1

    def test_cleanup_cache_closes_idle_file_systems_and_their_connections(self, bucket: Bucket) -> None:
        store, uri = FsspecStore("s3", bucket.options), bucket.put("a.bin", DATA)
        store.get_range(uri, 0, 10)
        with store._opened(uri) as (filesystem, _):
            (session,) = filesystem._s3._endpoint.http_session._sessions.values()
            assert not session.closed
            seen = weakref.ref(filesystem)
        del filesystem

        cleanup_cache()

        assert seen() is None
        assert session.closed
        assert store.get_range(uri, 5, 10) == DATA[5:15]  # by a new one

    def test_cleanup_cache_leaves_a_file_system_to_who_uses_it(self, bucket: Bucket) -> None:
        store, uri = FsspecStore("s3", bucket.options), bucket.put("a.bin", DATA)
        with store._opened(uri) as (filesystem, path):
            cleanup_cache()
            assert filesystem.cat_file(path, start=5, end=15) == DATA[5:15]

    def test_other_options_are_another_file_system(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(filesystems, "_MAX_FILESYSTEMS", 3)
        kept = filesystems._Filesystems()
        first = kept.get("memory", {})
        assert kept.get("memory", {}) is first
        assert kept.get("memory", {"use_listings_cache": False}) is not first
        monkeypatch.setenv("AWS_PROFILE", "another")
        assert kept.get("memory", {}) is not first
        for number in range(5):
            kept.get("memory", {"max_paths": number})
        assert len(kept._known) <= 3


class TestErrors:
    def test_no_key_and_no_bucket(self, bucket: Bucket) -> None:
        store = FsspecStore("s3", bucket.options)
        bucket.put("folder/a.bin", DATA)
        for uri in (f"s3://{bucket.name}/gone", f"s3://{bucket.name}/folder", f"s3://no-{bucket.name}/a"):
            for call in (store.head, store.get, lambda uri: store.get_range(uri, 0, 1)):
                with pytest.raises(MediaNotFoundError) as caught:
                    call(uri)
                assert caught.value.uri == uri

    @pytest.mark.parametrize("uri", ["s3://", "s3:///", "s3://bucket", "s3://bucket/", "s3://B_/a"])
    def test_no_object_can_be_there(self, bucket: Bucket, uri: str) -> None:
        store = FsspecStore("s3", {**bucket.options, **ONCE})
        for call in (store.head, store.get, lambda uri: store.get_range(uri, 0, 1)):
            with pytest.raises(StoreError):
                call(uri)

    def test_wrong_credentials(self, bucket: Bucket) -> None:
        uri = bucket.put("a.bin", DATA)
        with checked_credentials(bucket) as right:
            assert store_for(uri, right).get_range(uri, 3, 4) == DATA[3:7]
            for wrong in (bucket.options, {**right, "secret": "wrong-secret"}):
                store = store_for(uri, {**wrong, **ONCE})
                for call in (store.head, lambda uri, store=store: store.get_range(uri, 0, 1)):
                    with pytest.raises(StoreError, match="refuses access.*are the credentials") as caught:
                        call(uri)
                    told = "".join(traceback.format_exception(caught.value))
                    assert wrong["secret"] not in told
                    assert wrong["key"] not in told

    @pytest.mark.timeout(60)
    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        leave_aws_alone(monkeypatch)
        options = {"endpoint_url": "http://127.0.0.1:9", "key": "a", "secret": "b", **ONCE}
        with pytest.raises(StoreError, match="cannot be read: EndpointConnectionError.*attempt 2") as caught:
            FsspecStore("s3", options, attempts=2, backoff_seconds=0.001).head("s3://b/a?sig=hidden")
        assert "hidden" not in str(caught.value)
        twin = pickle.loads(pickle.dumps(caught.value))
        assert (type(twin), str(twin)) == (type(caught.value), str(caught.value))

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize(
        "fault",
        [Fault(hang_up=True), Fault(status=500), Fault(status=503), Fault(status=403), Fault(body_bytes=0)],
        ids=["hangs up", "500", "503", "403", "breaks off"],
    )
    def test_a_server_in_trouble(self, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
        leave_aws_alone(monkeypatch)
        with ObjectServer({"/bkt/a": DATA}) as server:
            options = {"endpoint_url": server.url(""), "key": "a", "secret": "b", **ONCE}
            store = FsspecStore("s3", options, backoff_seconds=0.001)
            assert store.get_range("s3://bkt/a", 3, 10) == DATA[3:13]
            server.always = fault
            with pytest.raises(StoreError) as caught:
                store.get_range("s3://bkt/a", 3, 10)
            assert not isinstance(caught.value, MediaNotFoundError)

    def test_misuse_is_not_hidden(self) -> None:
        for mistake in (ZeroDivisionError, TypeError, KeyError, AssertionError):
            with pytest.raises(mistake), mapped_errors("s3://b/a"):
                raise mistake

    def test_what_is_ours_keeps_its_place(self) -> None:
        with pytest.raises(StoreError) as caught, mapped_errors("s3://b/a"):
            raise StoreError("told")
        assert (caught.value.uri, caught.value.message) == ("s3://b/a", "told")


def _all_subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _all_subclasses(child)
    return found


BOTOCORE = {
    value
    for value in vars(botocore.exceptions).values()
    if isinstance(value, type) and issubclass(value, Exception)
}
FOREIGN = {
    *BOTOCORE,
    *_all_subclasses(botocore.exceptions.BotoCoreError),
    *_all_subclasses(aiohttp.ClientError),
    fsspec.exceptions.FSTimeoutError,
    fsspec.exceptions.BlocksizeMismatchError,
    asyncio.TimeoutError,
    concurrent.futures.TimeoutError,
    TimeoutError,
    ConnectionResetError,
    NotImplementedError,
}


def test_a_later_generation_of_a_library_is_the_same_library() -> None:
    kind = type("ConnectError", (Exception,), {"__module__": "httpx2"})
    with pytest.raises((StoreError, TransientError)), mapped_errors("s3://b/a"):
        raise kind("connection refused")


@pytest.mark.parametrize(
    "kind",
    sorted(FOREIGN, key=lambda kind: (kind.__module__, kind.__name__)),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_every_error_of_the_libraries_is_one_of_ours(kind: type[Exception]) -> None:
    """Made without their arguments, some can not even print themselves."""
    with pytest.raises((StoreError, TransientError)) as caught, mapped_errors("s3://b/a"):
        raise kind.__new__(kind)
    assert getattr(caught.value, "uri", "s3://b/a") == "s3://b/a"


@pytest.mark.parametrize(
    ("kind", "is_transient"),
    [
        (ConnectionResetError, True),
        (TimeoutError, True),
        (fsspec.exceptions.FSTimeoutError, True),
        (aiohttp.ClientPayloadError, True),
        (aiohttp.ServerDisconnectedError, True),
        (aiohttp.ClientConnectorDNSError, True),
        (botocore.exceptions.EndpointConnectionError, True),
        (botocore.exceptions.ReadTimeoutError, True),
        (botocore.exceptions.IncompleteReadError, True),
        (botocore.exceptions.SSLError, False),
        (aiohttp.ServerFingerprintMismatch, False),
        (aiohttp.ClientConnectorCertificateError, False),
        (botocore.exceptions.NoCredentialsError, False),
        (botocore.exceptions.ParamValidationError, False),
        (PermissionError, False),
        (FileNotFoundError, False),
        (ValueError, False),
    ],
)
def test_what_may_go_right_the_next_time(kind: type[Exception], is_transient: bool) -> None:
    with pytest.raises((MediaRefError, TransientError)) as caught, mapped_errors("s3://b/a"):
        raise kind.__new__(kind)
    assert isinstance(caught.value, TransientError) == is_transient


@pytest.mark.parametrize(
    ("status", "code", "headers", "found"),
    [
        (500, "InternalError", {}, (TransientError, None)),
        (503, "SlowDown", {}, (TransientError, None)),
        (503, "503", {"retry-after": "7"}, (TransientError, 7.0)),
        (429, "TooManyRequests", {"retry-after": "0"}, (TransientError, 0.0)),
        (400, "RequestTimeout", {}, (TransientError, None)),
        (400, "InvalidRequest", {}, (StoreError, None)),
        (412, "PreconditionFailed", {}, (MediaChangedError, None)),
        (403, "AccessDenied", {}, (StoreError, None)),
        (404, "NoSuchKey", {}, (MediaNotFoundError, None)),
    ],
)
def test_what_an_answer_of_s3_means(
    status: int, code: str, headers: dict[str, str], found: tuple[type[Exception], float | None]
) -> None:
    told = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    error = botocore.exceptions.ClientError(told, "GetObject")
    for raised in (error, translate_boto_error(error)):
        with pytest.raises((MediaRefError, TransientError)) as caught, mapped_errors("s3://b/a"):
            raise raised
        if raised is not error or status not in (403, 404):  # those s3fs translates itself
            assert (type(caught.value), getattr(caught.value, "wait_seconds", None)) == found


@pytest.mark.parametrize("code", sorted(ERROR_CODE_TO_EXCEPTION))
def test_every_code_of_s3_is_one_of_ours(code: str) -> None:
    told = {"Error": {"Code": code, "Message": "see https://h/a?X-Amz-Signature=hidden and s3cr3t"}}
    error = botocore.exceptions.ClientError(told, "GetObject")
    for raised in (error, translate_boto_error(error)):
        with (
            pytest.raises((StoreError, TransientError)) as caught,
            mapped_errors("s3://b/a", {"s3cr3t"}),
        ):
            raise raised
        assert "hidden" not in str(caught.value)
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("found", "etag", "modified"),
    [
        ({"ETag": '"abc"'}, '"abc"', None),
        ({"etag": "0x8D", "last_modified": "2020-01-01T00:00:00Z"}, '"0x8D"', 1577836800.0),
        ({"etag": 'W/"a"', "updated": "2020-01-01T00:00:00.500+00:00"}, 'W/"a"', 1577836800.5),
        ({"blob_id": "f00", "mtime": 12.5}, '"f00"', 12.5),
        ({"ETag": "", "LastModified": "", "updated": "yesterday"}, None, None),
    ],
)
def test_what_other_stores_tell_of_an_object(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], etag: str | None, modified: float | None
) -> None:
    fake = SimpleNamespace(invalidate_cache=lambda _: None, info=lambda _: {"size": 3, **found})
    monkeypatch.setattr("mediaref_ursa.store._fsspec.fsspec_store.shared_filesystem", lambda *_: fake)
    info = FsspecStore("memory").head("memory://a")
    assert (info.size, info.etag, info.modified) == (3, etag, modified)


def test_an_object_without_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(invalidate_cache=lambda _: None, info=lambda _: {"size": None})
    monkeypatch.setattr("mediaref_ursa.store._fsspec.fsspec_store.shared_filesystem", lambda *_: fake)
    with pytest.raises(StoreError, match="expected the object's length, found none"):
        FsspecStore("memory").head("memory://a")


class TestWithoutPackages:
    @pytest.mark.parametrize(
        ("scheme", "module", "command"),
        [
            ("s3", "s3fs", "pip install 'mediaref-ursa[cloud]'"),
            ("gs", "gcsfs", "pip install 'mediaref-ursa[gcs]'"),
            ("az", "adlfs", "pip install 'mediaref-ursa[azure]'"),
            ("hf", "huggingface_hub", "pip install 'mediaref-ursa[hf]'"),
            ("oss", "ossfs", "pip install 'mediaref-ursa[oss]'"),
        ],
    )
    def test_the_one_below(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, command: str
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setattr(importlib.import_module("fsspec.registry"), "registry", {})
        with pytest.raises(MissingExtraError) as caught:
            store_for(f"{scheme}://b/a").head(f"{scheme}://b/a")
        assert caught.value.message.endswith(f"it comes with: {command}")
        assert caught.value.uri == f"{scheme}://b/a"
        assert module in str(caught.value)

    @pytest.mark.parametrize(
        ("scheme", "module", "extra"),
        [
            *((scheme, "s3fs", "cloud") for scheme in ("s3", "s3a")),
            *((scheme, "gcsfs", "gcs") for scheme in ("gs", "gcs")),
            *((scheme, "adlfs", "azure") for scheme in ("az", "abfs", "abfss", "adl")),
            ("hf", "huggingface_hub", "hf"),
            ("oss", "ossfs", "oss"),
            ("memory", "fsspec", "cloud"),
        ],
    )
    def test_it_is_named_before_anybody_is_asked(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, extra: str
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        for name in ("describe", "write"):
            monkeypatch.setattr(
                f"mediaref_ursa._index.lance_table.{name}", lambda *_, **__: pytest.fail("Lance was asked")
            )
        uri = f"{scheme}://bucket/video.mp4"
        uses: list[Callable[[], object]] = [
            lambda: batch_decode([MediaRef(uri, 0)]),
            lambda: batch_decode([MediaRef(uri, 0)], untrusted=True, allow_schemes={scheme}),
            lambda: batch_decode([MediaRef(uri)]),
            lambda: LazyVideo.from_uri(uri),
            lambda: PyAVVideoDecoder(uri),
        ]
        if scheme != "memory":
            uses += [lambda: LanceFrameIndex.open(uri), lambda: write_frame_index(uri)]
        for use in uses:
            with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'mediaref-ursa[{extra}]'")):
                use()

    @pytest.mark.parametrize(("scheme", "package"), [("sftp", "paramiko"), ("smb", "smbprotocol")])
    def test_of_schemes_that_an_option_opens(self, scheme: str, package: str) -> None:
        if importlib.util.find_spec(package):
            pytest.skip(f"{package} is installed")
        with pytest.raises(MissingExtraError, match=f"needs {package}.*pip install .* {package}$"):
            batch_decode([MediaRef(f"{scheme}://host/a.mp4", 0)], allow_schemes={scheme})

    def test_of_schemes_that_only_fsspec_knows(self) -> None:
        with pytest.raises(MissingExtraError, match="fsspec says: .*lakefs"):
            batch_decode([MediaRef("lakefs://host/a.mp4", 0)], allow_schemes={"lakefs"})

    def test_fsspec_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (
            "mediaref_ursa.store._fsspec.fsspec_store",
            "mediaref_ursa.store._fsspec.filesystems",
            "fsspec.asyn",
        ):
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'mediaref-ursa\[cloud\]'") as caught:
            store_for("s3://b/a")
        assert caught.value.uri == "s3://b/a"
        with pytest.raises(MissingExtraError):
            importlib.import_module("mediaref_ursa.store._fsspec.fsspec_store")


FORKED = """
import json, os, sys, time
import fsspec.asyn
from mediaref_ursa.store import store_for

uri, options = sys.argv[1], json.loads(sys.argv[2])
store = store_for(uri, options)
expected = store.get(uri)
ranges = [(0, 5), (90_000, 20), (70_000, 3)]
began = time.monotonic()
with fsspec.asyn.get_lock():  # a fork in the middle of another thread's work
    child = os.fork()
if child == 0:
    # the file system is of this process, and so are its connections
    ok = store.get(uri) == expected and store.get_ranges(uri, ranges)[2] == expected[70_000:70_003]
    grandchild = os.fork()
    if grandchild == 0:
        sys.exit(0 if store.get(uri) == expected else 1)
    _, status = os.waitpid(grandchild, 0)
    sys.exit(0 if ok and status == 0 else 1)  # with all that is done at the end of a process
for _ in range(20):
    assert store.get_ranges(uri, ranges)[0] == expected[:5]
_, status = os.waitpid(child, 0)
assert store.get(uri) == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.timeout(90)
def test_a_forked_child_has_connections_of_its_own(bucket: Bucket) -> None:
    import json

    uri = bucket.put("a.bin", DATA)
    command = [sys.executable, "-W", "ignore", "-c", FORKED, uri, json.dumps(bucket.options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


SPAWNED = """
import pickle, sys
store, uri = pickle.loads(bytes.fromhex(sys.argv[1]))
assert store.get_range(uri, 3, 4) == bytes([3, 4, 5, 6])
"""


@pytest.mark.timeout(90)
def test_a_fresh_process_takes_a_pickled_store(bucket: Bucket) -> None:
    uri = bucket.put("a.bin", DATA)
    pickled = pickle.dumps((store_for(uri, bucket.object_store_options), uri)).hex()
    command = [sys.executable, "-c", SPAWNED, pickled]
    subprocess.run(command, check=True, timeout=60)
