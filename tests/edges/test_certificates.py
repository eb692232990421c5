"""Certificates of both sides: one of the client's, and one and no other of the server's."""

from __future__ import annotations

import hashlib
import ssl
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSAttribute, TLSStream

from edges.serving import echo, serving
from websocketstream import ConnectFailed, WebSocketRequest, open_websocket_stream
from websocketstream._network import tls_client

pytestmark = pytest.mark.anyio


@pytest.fixture
def certificate(certificate_authority: trustme.CA) -> trustme.LeafCert:
    return certificate_authority.issue_cert("localhost", "127.0.0.1")


@pytest.fixture
def server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def pin(certificate: trustme.LeafCert) -> str:
    return hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    ).hexdigest()


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """A context that verifies nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def says_hello(url: str, **options: Any) -> bool:
    async with open_websocket_stream(url, **options) as conn:
        await conn.send("hello")
        return await conn.receive() == "hello"


async def failure(url: str, **options: Any) -> str:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_stream(url, **options):
            pytest.fail("the body must not run")
    return str(caught.value)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_the_certificate_with_the_fingerprint_is_accepted(
    version: str, server: ssl.SSLContext, pin: str, client_ssl: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
    colons = bytes.fromhex(pin).hex(":").upper()
    async with serving(ssl_context=server) as listener:
        for context in (client_ssl, trusting):
            assert await says_hello(listener.url, ssl_context=context, fingerprint=pin)
            assert await says_hello(listener.url, ssl_context=context, fingerprint=colons)


async def test_no_other_is_and_the_server_hears_not_a_byte_of_http(
    server: ssl.SSLContext, pin: str, client_ssl: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    asked: list[WebSocketRequest] = []

    async def handler(request: WebSocketRequest) -> None:
        asked.append(request)
        await echo(request)

    wanted = hashlib.sha256(b"").hexdigest()
    async with serving(handler, ssl_context=server) as listener:
        for context in (client_ssl, trusting):
            assert await failure(listener.url, ssl_context=context, fingerprint=wanted) == (
                f"TLS handshake with 127.0.0.1 failed: the certificate has the SHA-256 fingerprint "
                f"{bytes.fromhex(pin).hex(':').upper()}, not {bytes.fromhex(wanted).hex(':').upper()} as asked for"
            )
        await anyio.wait_all_tasks_blocked()
        assert asked == []


async def test_a_fingerprint_makes_no_certificate_trusted(server: ssl.SSLContext, pin: str) -> None:
    async with serving(ssl_context=server) as listener:
        assert "certificate not accepted" in await failure(listener.url, fingerprint=pin)


async def test_with_a_fingerprint_every_handshake_is_a_full_one(
    server: ssl.SSLContext, pin: str, client_ssl: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_client, "default_ssl_context", lambda: client_ssl)
    async with serving(ssl_context=server) as listener:
        assert await says_hello(listener.url)
        for _ in range(2):
            async with open_websocket_stream(listener.url, fingerprint=pin) as conn:
                assert not conn.extra(TLSAttribute.ssl_object).session_reused
        assert "not 00:00" in await failure(listener.url, fingerprint="0" * 64)


async def test_on_a_stream_that_is_tls_already_the_fingerprint_is_compared_too(
    server: ssl.SSLContext, pin: str, client_ssl: ssl.SSLContext
) -> None:
    async with serving(ssl_context=server) as listener:

        async def given() -> TLSStream:
            stream = await anyio.connect_tcp("127.0.0.1", listener.port)
            return await TLSStream.wrap(stream, hostname="127.0.0.1", ssl_context=client_ssl)

        assert await says_hello(listener.url, stream=await given(), fingerprint=pin)
        assert "not 00:00" in await failure(listener.url, stream=await given(), fingerprint="0" * 64)


async def test_a_redirect_leads_to_no_other_certificate(
    server: ssl.SSLContext, pin: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
) -> None:
    async def point(request: WebSocketRequest) -> None:
        await request.reject(302, {"Location": other.url})

    async with serving(ssl_context=server_ssl) as other, serving(point, ssl_context=server) as listener:
        assert f"not {pin[:2].upper()}:" in await failure(
            listener.url, ssl_context=client_ssl, fingerprint=pin, max_redirects=1
        )


async def test_without_tls_there_is_nothing_to_compare() -> None:
    for redirects in (0, 1):
        with pytest.raises(ValueError, match=r"fingerprint is for TLS, and ws://h/ has none: use wss://"):
            open_websocket_stream("ws://h", fingerprint="0" * 64, max_redirects=redirects)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_client_certificate_is_shown_to_a_server_that_asks_for_it(
    version: str, server: ssl.SSLContext, certificate_authority: trustme.CA, client_ssl: ssl.SSLContext
) -> None:
    server.minimum_version = server.maximum_version = ssl.TLSVersion[version]
    server.verify_mode = ssl.CERT_REQUIRED
    certificate_authority.configure_trust(server)
    ours = ssl.create_default_context()
    certificate_authority.configure_trust(ours)
    certificate_authority.issue_cert("ann@example.com").configure_cert(ours)

    async def tell(request: WebSocketRequest) -> None:
        certificate = request.extra(TLSAttribute.peer_certificate)
        async with request.accept() as conn:
            await conn.send(dict(certificate["subjectAltName"])["email"])  # type: ignore[arg-type]

    async with serving(tell, ssl_context=server) as listener:
        async with open_websocket_stream(listener.url, ssl_context=ours) as conn:
            assert await conn.receive() == "ann@example.com"
        await failure(listener.url, ssl_context=client_ssl)
