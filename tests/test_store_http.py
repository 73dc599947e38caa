"""HTTP: verified replies, retries, redirects, and no secret in any message."""

from __future__ import annotations

import io
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import urllib3
from _http_server import LAST_MODIFIED_SECONDS, Fault, ObjectServer
from loguru import logger

import mediaref_ursa.store._http.http_store as http
import mediaref_ursa.store._http.sessions as sessions
from mediaref_ursa import (
    InvalidReferenceError,
    LimitExceededError,
    MediaNotFoundError,
    MediaRefError,
    StoreError,
)
from mediaref_ursa.store import HttpStore, store_for
from mediaref_ursa.store._download.retry import Deadline, TransientError
from mediaref_ursa.store._http.sessions import mapped_errors

DATA = bytes(range(256)) * 400
STORE = HttpStore(backoff_seconds=0.001, read_timeout_seconds=5, attempts=3)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer({"/a.bin": DATA}) as running:
        yield running


def test_the_scheme_picks_the_store() -> None:
    assert store_for("https://host/a.mp4") == HttpStore() == store_for("HTTP://host/a.mp4")
    assert hash(HttpStore()) == hash(HttpStore(headers={"X-Key": "1"}))


class TestHead:
    def test_tells_size_tag_and_time(self, server: ObjectServer) -> None:
        info = STORE.head(server.url("/a.bin"))
        assert info.size == len(DATA)
        assert info.etag is not None
        assert info.modified == LAST_MODIFIED_SECONDS
        assert [request.method for request in server.seen] == ["HEAD"]

    @pytest.mark.parametrize("status", [400, 403, 405, 501])
    def test_falls_back_to_one_byte_where_head_is_refused(self, server: ObjectServer, status: int) -> None:
        server.always = Fault(status=status, methods=("HEAD",))
        assert STORE.head(server.url("/a.bin")).size == len(DATA)
        assert server.seen[-1].headers["Range"] == "bytes=0-0"
        assert STORE.head(server.put("/empty", b"")).size == 0

    def test_falls_back_where_head_tells_no_length(self, server: ObjectServer) -> None:
        server.always = Fault(no_length=True, methods=("HEAD",))
        assert STORE.head(server.url("/a.bin")).size == len(DATA)

    def test_takes_the_length_of_a_server_without_ranges(self, server: ObjectServer) -> None:
        server.fail_next(Fault(status=405), Fault(ignore_range=True))
        assert STORE.head(server.url("/a.bin")).size == len(DATA)

    def test_a_length_that_nobody_tells_is_an_error(self, server: ObjectServer) -> None:
        server.always = Fault(no_length=True, ignore_range=True)
        with pytest.raises(StoreError, match="the length is unknown") as caught:
            STORE.head(server.url("/a.bin"))
        assert caught.value.uri == server.url("/a.bin")

    def test_times_that_are_none(self, server: ObjectServer) -> None:
        server.always = Fault(headers={"Last-Modified": "yesterday"})
        assert STORE.head(server.url("/a.bin")).modified is None


class TestRetries:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(status=500),
            Fault(status=502),
            Fault(status=503),
            Fault(status=504),
            Fault(status=429),
            Fault(status=408),
            Fault(hang_up=True),
            Fault(body_bytes=10),
            Fault(body_bytes=0),
        ],
        ids=repr,
    )
    def test_what_passes_is_tried_again(self, server: ObjectServer, fault: Fault) -> None:
        for call, expected in (
            (lambda: STORE.get(server.url("/a.bin")), DATA),
            (lambda: STORE.get_range(server.url("/a.bin"), 50, 90_000), DATA[50:90_050]),
        ):
            server.seen.clear()
            server.fail_next(fault, fault)
            assert call() == expected
            assert len(server.seen) == 3

    @pytest.mark.parametrize("fault", [Fault(status=503), Fault(hang_up=True), Fault(body_bytes=9)], ids=repr)
    def test_what_stays_is_one_error(self, server: ObjectServer, fault: Fault) -> None:
        server.always = fault
        with pytest.raises(StoreError, match=r"attempt 3, the last"):
            STORE.get_range(server.url("/a.bin"), 0, 1000)
        assert len(server.seen) == 3

    @pytest.mark.parametrize("status", [401, 403, 400, 418])
    def test_what_no_repetition_cures_is_an_error_at_once(self, server: ObjectServer, status: int) -> None:
        server.always = Fault(status=status)
        with pytest.raises(StoreError, match=f"HTTP {status}"):
            STORE.get(server.url("/a.bin"))
        assert len(server.seen) == 1

    @pytest.mark.parametrize("status", [404, 410])
    def test_what_is_gone_is_not_found(self, server: ObjectServer, status: int) -> None:
        server.always = Fault(status=status)
        for call in (STORE.get, STORE.head):
            with pytest.raises(MediaNotFoundError):
                call(server.url("/a.bin"))
        assert len(server.seen) == 2

    def test_the_server_says_how_long_to_wait(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr(Deadline, "pause", lambda _, seconds: waits.append(seconds))
        soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=20), usegmt=True)
        server.fail_next(
            Fault(status=429, headers={"Retry-After": "7"}),
            Fault(status=503, headers={"Retry-After": soon}),
        )
        assert STORE.get(server.url("/a.bin")) == DATA
        assert waits[0] == 7
        assert 15 < waits[1] <= 20

    def test_a_wait_that_is_too_long_is_an_error(self, server: ObjectServer) -> None:
        server.always = Fault(status=429, headers={"Retry-After": "3600"})
        with pytest.raises(StoreError, match="asks to wait 3600 s, and 1[12]. s are left of 120 s"):
            STORE.get(server.url("/a.bin"))
        assert len(server.seen) == 1

    def test_pauses_grow_and_vary(self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr(Deadline, "pause", lambda _, seconds: waits.append(seconds))
        server.always = Fault(status=500)
        with pytest.raises(StoreError):
            HttpStore(attempts=6, backoff_seconds=1, max_wait_seconds=6).get(server.url("/a.bin"))
        for pause, full in zip(waits, [1, 2, 4, 6, 6], strict=True):
            assert full / 2 <= pause <= full
        assert len(set(waits)) == 5

    def test_retries_are_logged_without_the_query(self, server: ObjectServer) -> None:
        server.fail_next(Fault(status=503))
        text = io.StringIO()
        sink = logger.add(text, level="INFO")
        logger.enable("mediaref_ursa")
        try:
            STORE.get(server.url("/a.bin?X-Signature=secret"))
        finally:
            logger.disable("mediaref_ursa")
            logger.remove(sink)
        assert "HTTP 503" in text.getvalue()
        assert "secret" not in text.getvalue()


class TestTimeouts:
    def test_a_server_that_does_not_answer(self, server: ObjectServer) -> None:
        server.always = Fault(delay_seconds=1)
        store = HttpStore(read_timeout_seconds=0.1, attempts=2, backoff_seconds=0.001)
        with pytest.raises(StoreError, match="ReadTimeout"):
            store.get(server.url("/a.bin"))

    def test_a_slow_answer_once(self, server: ObjectServer) -> None:
        server.fail_next(Fault(delay_seconds=1))
        store = HttpStore(read_timeout_seconds=0.2, attempts=2, backoff_seconds=0.001)
        assert store.get(server.url("/a.bin")) == DATA

    def test_nobody_listens(self) -> None:
        with ObjectServer() as gone:
            url = gone.url("/a.bin?secret=1")
        with pytest.raises(StoreError, match=r"ConnectionError: Connection refused \(attempt 3"):
            STORE.get(url)


class TestVerifiedReplies:
    def test_bytes_are_asked_for_as_they_are(self, server: ObjectServer) -> None:
        STORE.get_range(server.url("/a.bin"), 10, 20)
        assert server.seen[0].headers["Accept-Encoding"] == "identity"
        assert server.seen[0].headers["Range"] == "bytes=10-29"

    @pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
    def test_an_encoding_is_an_error(self, server: ObjectServer, encoding: str) -> None:
        server.always = Fault(headers={"Content-Encoding": encoding})
        for call in (
            lambda: STORE.get(server.url("/a.bin")),
            lambda: STORE.get_range(server.url("/a.bin"), 0, 4),
            lambda: STORE.head(server.url("/a.bin")),
        ):
            with pytest.raises(StoreError, match="Content-Encoding"):
                call()

    def test_identity_is_no_encoding(self, server: ObjectServer) -> None:
        server.always = Fault(headers={"Content-Encoding": "identity"})
        assert STORE.get(server.url("/a.bin")) == DATA

    @pytest.mark.parametrize(
        "content_range",
        ["bytes 11-30/102400", "bytes 10-28/102400", "bytes 0-19/102400", "bytes 10-29", "items 10-29/1", ""],
    )
    def test_another_range_than_asked_for_is_an_error(self, server: ObjectServer, content_range: str) -> None:
        server.always = Fault(headers={"Content-Range": content_range})
        with pytest.raises(StoreError, match="expected the bytes 10-29, found Content-Range"):
            STORE.get_range(server.url("/a.bin"), 10, 20)

    def test_an_unknown_total_is_fine(self, server: ObjectServer) -> None:
        server.always = Fault(headers={"Content-Range": "bytes 10-29/*"})
        assert STORE.get_range(server.url("/a.bin"), 10, 20) == DATA[10:30]

    def test_a_range_of_an_object_that_became_shorter(self, server: ObjectServer) -> None:
        server.always = Fault(headers={"Content-Range": "bytes 10-14/15"})
        with pytest.raises(StoreError, match="found 5: the object has 15 bytes"):
            STORE.get_range(server.url("/a.bin"), 10, 20)

    def test_a_server_without_ranges_is_read_whole_and_cut(self, server: ObjectServer) -> None:
        server.always = Fault(ignore_range=True)
        assert STORE.get_range(server.url("/a.bin"), 500, 20) == DATA[500:520]
        ranges = [(0, 5), (70_000, 9), (3, 0)]
        assert STORE.get_ranges(server.url("/a.bin"), ranges) == [DATA[o : o + n] for o, n in ranges]
        with pytest.raises(StoreError, match="expected 2 bytes at offset 102399, found 1"):
            STORE.get_range(server.url("/a.bin"), len(DATA) - 1, 2)

    def test_a_large_object_on_a_server_without_ranges(self, server: ObjectServer) -> None:
        server.always = Fault(ignore_range=True)
        small = HttpStore(max_whole_body_bytes=1000, backoff_seconds=0.001)
        with pytest.raises(StoreError, match=r"expected a server that serves byte ranges.*1000 bytes"):
            small.get_range(server.url("/a.bin"), 0, 10)

    def test_part_of_an_object_is_not_the_whole(self, server: ObjectServer) -> None:
        server.always = Fault(status=206)
        with pytest.raises(StoreError, match="expected the length of the whole object.*HTTP 206"):
            STORE.get(server.url("/a.bin"))

    def test_the_limit_holds_without_a_length(self, server: ObjectServer) -> None:
        server.always = Fault(no_length=True)
        assert STORE.get(server.url("/a.bin"), max_bytes=len(DATA)) == DATA
        with pytest.raises(LimitExceededError, match="at most 1000 bytes"):
            STORE.get(server.url("/a.bin"), max_bytes=1000)

    def test_the_limit_is_enforced_before_the_body(self, server: ObjectServer) -> None:
        server.always = Fault(headers={"Content-Length": str(10**12)}, body_bytes=0)
        with pytest.raises(LimitExceededError):
            STORE.get(server.url("/a.bin"), max_bytes=1000)


class TestRedirects:
    def test_are_followed_with_the_range(self, server: ObjectServer) -> None:
        server.fail_next(
            Fault(status=302, headers={"Location": "/b?x=1"}),
            Fault(status=307, headers={"Location": "a.bin"}),
        )
        assert STORE.get_range(server.url("/old"), 3, 5) == DATA[3:8]
        assert [request.path for request in server.seen] == ["/old", "/b?x=1", "/a.bin"]

    def test_five_at_most(self, server: ObjectServer) -> None:
        hop = Fault(status=301, headers={"Location": "/a.bin"})
        server.fail_next(*[hop] * 5)
        assert STORE.get(server.url("/a.bin")) == DATA
        server.always = hop
        server.seen.clear()
        with pytest.raises(StoreError, match="at most 5 redirects"):
            STORE.get(server.url("/a.bin"))
        assert len(server.seen) == 6

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/a", "data:,x"])
    def test_lead_to_http_only(self, server: ObjectServer, target: str) -> None:
        server.always = Fault(status=302, headers={"Location": target})
        with pytest.raises(StoreError, match="a redirect leads to the scheme"):
            STORE.get(server.url("/a.bin"))

    def test_without_a_target_are_an_error(self, server: ObjectServer) -> None:
        server.always = Fault(status=302)
        with pytest.raises(StoreError, match="HTTP 302"):
            STORE.get(server.url("/a.bin"))

    def test_secrets_stay_at_their_origin(self, server: ObjectServer) -> None:
        store = HttpStore(headers={"Authorization": "Bearer secret", "X-Key": "secret"})
        with ObjectServer({"/a.bin": DATA}) as other:
            server.fail_next(
                Fault(status=302, headers={"Location": "/b"}),
                Fault(status=302, headers={"Location": other.url("/a.bin")}),
            )
            assert store.get(server.url("/old")) == DATA
            assert [request.headers.get("X-Key") for request in server.seen] == ["secret", "secret"]
            assert [request.headers.get("Authorization") for request in server.seen] == ["Bearer secret"] * 2
            assert "secret" not in str(other.seen)

    def test_credentials_in_the_url_stay_at_their_origin(self, server: ObjectServer) -> None:
        with ObjectServer({"/a.bin": DATA}) as other:
            server.fail_next(Fault(status=302, headers={"Location": other.url("/a.bin")}))
            STORE.get(server.url("/old").replace("http://", "http://user:secret@"))
            assert server.seen[0].headers["Authorization"].startswith("Basic ")
            assert "Authorization" not in other.seen[0].headers

    def test_secrets_do_not_come_back(self, server: ObjectServer) -> None:
        """Another origin could lead them to any place of the first."""
        store = HttpStore(headers={"X-Key": "secret"})
        with ObjectServer() as other:
            server.fail_next(Fault(status=302, headers={"Location": other.url("/b")}))
            other.fail_next(Fault(status=302, headers={"Location": server.url("/a.bin")}))
            assert store.get(server.url("/old").replace("http://", "http://user:secret@")) == DATA
        assert "secret" in str(server.seen[0])
        assert "Authorization" not in server.seen[1].headers
        assert "secret" not in str(other.seen + server.seen[1:])

    def test_credentials_stay_with_an_absolute_redirect_to_the_same_origin(
        self, server: ObjectServer
    ) -> None:
        server.fail_next(Fault(status=302, headers={"Location": server.url("/a.bin")}))
        STORE.get(server.url("/old").replace("http://", "http://user:p%40ss@"))
        assert server.seen[1].headers["Authorization"] == server.seen[0].headers["Authorization"]
        assert server.seen[0].headers["Authorization"] == "Basic dXNlcjpwQHNz"

    def test_credentials_that_a_redirect_brings_are_not_used(self, server: ObjectServer) -> None:
        with ObjectServer({"/a.bin": DATA}) as other:
            target = other.url("/a.bin").replace("http://", "http://planted:secret@")
            server.fail_next(Fault(status=302, headers={"Location": target}))
            assert STORE.get(server.url("/old")) == DATA
            assert "Authorization" not in other.seen[0].headers

    def test_another_port_is_another_origin(self, server: ObjectServer) -> None:
        assert http._origin("http://h") == http._origin("HTTP://H:80/x") != http._origin("http://h:8080")
        assert http._origin("http://h") != http._origin("https://h")

    def test_passwords_of_a_netrc_are_not_used(
        self, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        server.fail_next(Fault(status=302, headers={"Location": "/a.bin"}))
        STORE.get(server.url("/old"))
        assert not any("Authorization" in request.headers for request in server.seen)

    def test_as_many_as_the_store_says(self, server: ObjectServer) -> None:
        server.fail_next(Fault(status=302, headers={"Location": "/a.bin"}))
        with pytest.raises(StoreError, match="at most 0 redirects"):
            HttpStore(max_redirects=0).get(server.url("/old"))

    def test_cookies_are_not_kept(self, server: ObjectServer) -> None:
        server.fail_next(Fault(headers={"Set-Cookie": "session=1; Path=/"}))
        STORE.get(server.url("/a.bin"))
        STORE.get(server.url("/a.bin"))
        assert "Cookie" not in server.seen[1].headers


class TestNoSecretsInMessages:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault(status=403),
            Fault(status=404),
            Fault(status=500),
            Fault(hang_up=True),
            Fault(body_bytes=3),
            Fault(status=302, headers={"Location": "/a.bin?X-Signature=secret"}),
            Fault(headers={"Content-Encoding": "gzip"}),
            Fault(delay_seconds=0.5),
        ],
        ids=repr,
    )
    def test_whatever_goes_wrong(self, server: ObjectServer, fault: Fault) -> None:
        server.always = fault
        store = HttpStore(attempts=1, read_timeout_seconds=0.1)
        url = server.url("/a.bin?X-Signature=secret").replace("http://", "http://user:secret@")
        with pytest.raises(MediaRefError) as caught:
            store.get(url)
        assert "secret" not in "".join(traceback.format_exception(caught.value)).replace(repr(url), "")
        assert caught.value.uri == url


class TestUrls:
    @pytest.mark.parametrize(
        "url", ["http://", "http://host:99999/a", "http://[::1/a", "http://.example/a", "https://ex ample/a"]
    )
    def test_that_cannot_be_requested(self, url: str) -> None:
        with pytest.raises(InvalidReferenceError) as caught:
            HttpStore(attempts=1).get(url)
        assert caught.value.uri == url

    @pytest.mark.parametrize("url", ["/a.bin", "file:///a.bin", "s3://bucket/a"])
    def test_of_other_schemes(self, url: str) -> None:
        with pytest.raises(InvalidReferenceError, match="expected an http:// or https:// URL"):
            STORE.get(url)


def test_ranges_are_fetched_at_once_up_to_the_bound(server: ObjectServer) -> None:
    server.always = Fault(delay_seconds=0.1)
    HttpStore(max_requests=4).get_ranges(server.url("/a.bin"), [(i, 1) for i in range(12)])
    assert len(server.seen) == 12
    assert 2 <= server.most_at_once <= 4


def test_the_first_error_ends_get_ranges(server: ObjectServer) -> None:
    with pytest.raises(StoreError, match="offset 102399"):
        STORE.get_ranges(server.url("/a.bin"), [(0, 1), (len(DATA) - 1, 2), (10**9, 1)])


def test_connections_are_used_again(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[requests.Session] = []
    make = requests.Session
    monkeypatch.setattr(sessions, "_POOL", sessions._SessionPool())
    monkeypatch.setattr(requests, "Session", lambda: made.append(make()) or made[-1])
    for _ in range(3):
        STORE.get_range(server.url("/a.bin"), 0, 10)
        STORE.get_ranges(server.url("/a.bin"), [(0, 1), (1, 1)])
    assert len(made) <= 2
    for session in made:
        session.close()


@pytest.mark.timeout(60)
def test_a_forked_child_has_connections_of_its_own(server: ObjectServer) -> None:
    script = """
import os, sys
from mediaref_ursa.store import HttpStore
from mediaref_ursa.store._http.sessions import _POOL
store, url = HttpStore(), sys.argv[1]
expected = store.get(url)
with _POOL._lock:  # a fork in the middle of another thread's work
    child = os.fork()
    if child == 0:
        ok = store.get(url) == expected and store.get_ranges(url, [(0, 5), (9, 2)])[1] == expected[9:11]
        os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert store.get(url) == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, server.url("/a.bin")], check=True, timeout=50
    )


def _all_subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _all_subclasses(child)
    return found


@pytest.mark.parametrize(
    "kind",
    sorted(
        {*_all_subclasses(requests.RequestException), *_all_subclasses(urllib3.exceptions.HTTPError)},
        key=lambda kind: (kind.__module__, kind.__name__),
    ),
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_every_error_of_the_library_is_one_of_ours(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)
    with pytest.raises((MediaRefError, TransientError)), mapped_errors("http://host/a"):
        raise error


def test_misuse_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), mapped_errors("http://host/a"):
        raise ZeroDivisionError
