"""Hosts outside the public network: refused where the store is told so, however they are written or found."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from _http_server import Fault, ObjectServer

from mediaref_ursa import InvalidReferenceError, LanceFrameIndex, StoreError, cleanup_cache
from mediaref_ursa._model.access import Access
from mediaref_ursa.store import HttpStore
from mediaref_ursa.store._http import addresses, connections
from mediaref_ursa.store._http.addresses import checked_addresses, is_public, resolve

DATA = b"0123456789"
GUARDED = HttpStore(allow_private_hosts=False, attempts=1, connect_timeout_seconds=2, read_timeout_seconds=2)
PUBLIC = "93.184.216.34"

PRIVATE_V4 = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "168.63.129.16"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255"),
]
PRIVATE_V6 = [
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1"),
    *("2001::1", "2001:db8::1", "3fff::1", "4000::1", "5f00::1", "64:ff9b:1::1"),
    "2606:2800:220:1:0:5efe:7f00:1",  # ISATAP
]
PUBLIC_ADDRESSES = [PUBLIC, "8.8.8.8", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:81b::200e"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ObjectServer({"/a.bin": DATA}) as running:
        yield running
    cleanup_cache()  # those of one test lead to no server of the next


class Names:
    """Answers for the system's resolver, one after another, and notes what was asked and connected to."""

    def __init__(self, port: int, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.port = port
        self.asked: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.answers[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def open_socket(self, address: str, port: int, **options: Any) -> socket.socket:
        self.connected.append(address)
        return socket.create_connection(("127.0.0.1", self.port), 2)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Names:
        monkeypatch.setattr(addresses, "resolve", self.resolve)
        monkeypatch.setattr(connections, "open_socket", self.open_socket)
        return self


class TestAddresses:
    @pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
    def test_public(self, address: str) -> None:
        assert is_public(address)

    @pytest.mark.parametrize("address", [*PRIVATE_V4, *PRIVATE_V6, "", "localhost", "1.2.3", "::ffff:0:0:0"])
    def test_not_public(self, address: str) -> None:
        assert not is_public(address)

    @pytest.mark.parametrize("address", [*PRIVATE_V4, PUBLIC])
    def test_an_ipv4_address_within_an_ipv6_one_counts_as_itself(self, address: str) -> None:
        number = int(ipaddress.IPv4Address(address))
        mapped = f"::ffff:{address}"
        sixtofour = str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1))
        nat64 = str(ipaddress.IPv6Address((0x64FF9B << 96) | number))
        for form in (mapped, sixtofour, nat64):
            assert is_public(form) == (address == PUBLIC), form
        assert not is_public(f"::{address}")  # the compatible form, long given up

    def test_one_private_address_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(addresses, "resolve", lambda host, port: [PUBLIC, "10.0.0.1"])
        with pytest.raises(InvalidReferenceError):
            checked_addresses("media.example", 80)

    def test_no_address_at_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(addresses, "resolve", lambda host, port: [])
        with pytest.raises(OSError, match="no address"):
            checked_addresses("media.example", 80)

    def test_the_system_is_asked(self) -> None:
        assert resolve("127.0.0.1", 80) == ["127.0.0.1"]


class TestDefault:
    def test_an_index_is_not_looked_for_on_private_hosts(self, server: ObjectServer) -> None:
        access = Access.from_options({"untrusted": True})
        for open_index in (LanceFrameIndex.open, LanceFrameIndex.open_elsewhere):
            with pytest.raises(InvalidReferenceError, match="allow_private_hosts=True"):
                open_index(server.url("/a.bin"), access=access)
        assert not server.seen

    def test_private_hosts_are_allowed(self, server: ObjectServer) -> None:
        assert HttpStore().get(server.url("/a.bin")) == DATA
        assert HttpStore(allow_private_hosts=True) == HttpStore()


class TestRefused:
    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "127.1", "0x7f000001", "0x7f.1", "2130706433", "0177.0.0.1", "0", "0.0.0.0"),
            *("localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
            *("[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
            *("169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]", "user:pass@127.0.0.1"),
            *("①②⑦.⓪.⓪.①", "127。0。0。1"),
        ],
    )
    def test_however_it_is_written(
        self, server: ObjectServer, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connected: list[str] = []
        monkeypatch.setattr(connections, "open_socket", lambda address, *_, **__: connected.append(address))
        for call in (GUARDED.head, GUARDED.get, lambda url: GUARDED.get_ranges(url, [(0, 1), (5, 1)])):
            url = f"http://{host}:{server.port}/a.bin?X-Signature=secret"
            with pytest.raises((InvalidReferenceError, StoreError)) as caught:
                call(url)
            assert caught.value.uri == url
            assert "secret" not in str(caught.value)
        assert connected == []
        assert server.seen == []

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1"])
    def test_the_message_names_the_option(self, server: ObjectServer, host: str) -> None:
        with pytest.raises(InvalidReferenceError, match="allow_private_hosts=True"):
            GUARDED.get(f"http://{host}:{server.port}/a.bin")

    def test_by_a_redirect(self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
        names = Names(server.port, media_example=[[PUBLIC]], inner_example=[["10.0.0.7"]])
        names.install(monkeypatch)
        for target in ("http://inner.example/a.bin", "//inner.example/a.bin"):
            server.fail_next(Fault(status=302, headers={"Location": target}))
            with pytest.raises(InvalidReferenceError, match="allow_private_hosts=True") as caught:
                GUARDED.get("http://media.example/a.bin")
            assert caught.value.uri == "http://media.example/a.bin"
        assert set(names.connected) == {PUBLIC}

    def test_by_a_literal_address_in_a_redirect(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = Names(
            server.port, **{"media_example": [[PUBLIC]], "169_254_169_254": [["169.254.169.254"]]}
        ).install(monkeypatch)
        server.fail_next(Fault(status=302, headers={"Location": "http://169.254.169.254/latest"}))
        with pytest.raises(InvalidReferenceError):
            GUARDED.get("http://media.example/a.bin")
        assert names.connected == [PUBLIC]

    def test_an_error_is_no_reason_to_try_again(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = Names(server.port, media_example=[["10.0.0.7"]]).install(monkeypatch)
        with pytest.raises(InvalidReferenceError):
            HttpStore(allow_private_hosts=False, attempts=5).get("http://media.example/a.bin")
        assert names.asked == ["media.example"]


class TestTheCheckedAddressIsTheOneConnectedTo:
    def test_rebinding(self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that is public when it is looked at, and private a moment later."""
        names = Names(server.port, media_example=[[PUBLIC], ["127.0.0.1"]]).install(monkeypatch)
        assert GUARDED.get("http://media.example/a.bin") == DATA
        assert names.asked == ["media.example"]
        assert names.connected == [PUBLIC]
        assert server.seen[0].headers["Host"] == "media.example"
        cleanup_cache()
        with pytest.raises(InvalidReferenceError):
            GUARDED.get("http://media.example/a.bin")
        assert names.connected == [PUBLIC]

    def test_no_name_is_handed_to_the_system(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked_up: list[str] = []
        ask = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
            looked_up.append(host)
            return ask("127.0.0.1", server.port, *args, **options)

        monkeypatch.setattr(addresses, "resolve", lambda host, port: [PUBLIC])
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert GUARDED.get("http://media.example/a.bin") == DATA
        assert looked_up == [PUBLIC]

    def test_the_next_address_is_tried_if_one_does_not_answer(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = Names(server.port, media_example=[["2606:4700::1111", PUBLIC]]).install(monkeypatch)
        connect = names.open_socket

        def only_one(address: str, port: int, **options: Any) -> socket.socket:
            if address != PUBLIC:
                raise ConnectionRefusedError(111, "Connection refused")
            return connect(address, port, **options)

        monkeypatch.setattr(connections, "open_socket", only_one)
        assert GUARDED.get("http://media.example/a.bin") == DATA

    def test_nobody_answers(self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
        Names(server.port, media_example=[[PUBLIC]]).install(monkeypatch)
        for error in (ConnectionRefusedError(111, "Connection refused"), TimeoutError("timed out")):

            def refuse(*_: Any, error: OSError = error, **__: Any) -> socket.socket:
                raise error

            monkeypatch.setattr(connections, "open_socket", refuse)
            with pytest.raises(StoreError, match=r"Connect\w+: (Connection refused|no bytes came)"):
                GUARDED.get("http://media.example/a.bin")

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_no_proxy_is_asked(
        self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """It would look the name up itself, and reach what this machine must not."""
        with ObjectServer({"/a.bin": b"of the proxy"}) as proxy:
            monkeypatch.setenv(name, proxy.url(""))
            names = Names(server.port, media_example=[[PUBLIC]]).install(monkeypatch)
            assert GUARDED.get("http://media.example/a.bin") == DATA
            assert proxy.seen == []
            assert names.connected == [PUBLIC]
            with pytest.raises(StoreError):
                HttpStore(attempts=1).get("http://media.example/a.bin")  # knows no such path
            assert [request.path for request in proxy.seen] == ["http://media.example/a.bin"]


@pytest.fixture
def secure_server(tmp_path: Path) -> Iterator[tuple[HTTPServer, Path]]:
    """An HTTPS server with a certificate for media.example."""
    certificate, key = _certificate("media.example")
    bundle, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    bundle.write_bytes(certificate)
    private.write_bytes(key)
    (tmp_path / "a.bin").write_bytes(DATA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle, private)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, directory=str(tmp_path), **options)

        def log_message(self, format: str, *args: object) -> None:
            pass

    names_asked: list[str] = []
    context.sni_callback = lambda sock, name, _: names_asked.append(name)  # type: ignore[assignment]
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.names_asked = names_asked  # type: ignore[attr-defined]
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server, bundle
    cleanup_cache()
    server.shutdown()
    server.server_close()
    thread.join()


def _certificate(name: str) -> tuple[bytes, bytes]:
    """Make a certificate that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


class TestCertificates:
    """They are for the name, though the connection leads to an address."""

    def test_of_the_name(
        self, secure_server: tuple[HTTPServer, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, bundle = secure_server
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        names = Names(server.server_port, media_example=[[PUBLIC]]).install(monkeypatch)
        assert GUARDED.get("https://media.example/a.bin") == DATA
        assert names.connected == [PUBLIC]
        assert server.names_asked == ["media.example"]  # type: ignore[attr-defined]

    def test_of_another_name(
        self, secure_server: tuple[HTTPServer, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, bundle = secure_server
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        Names(server.server_port, other_example=[[PUBLIC]]).install(monkeypatch)
        with pytest.raises(StoreError, match="SSLError"):
            GUARDED.get("https://other.example/a.bin")

    def test_of_nobody_that_is_known(
        self, secure_server: tuple[HTTPServer, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server, _ = secure_server
        Names(server.server_port, media_example=[[PUBLIC]]).install(monkeypatch)
        with pytest.raises(StoreError, match="SSLError"):
            GUARDED.get("https://media.example/a.bin")
