"""Our server behind nginx and HAProxy: plain, through TLS, on a unix socket, idle, paused, and when they die."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from edges.serving import serving
from interop.exchanges import echoes, is_closed_with_our_code
from interop.programs import DONE, Contract, end, program
from interop.proxies import KINDS, PATIENCE, Kind
from waiting import until
from websocketstream import (
    ConnectionBroken,
    HandshakeRejected,
    TrustedProxies,
    WebSocketRequest,
    open_websocket_stream,
)

pytestmark = pytest.mark.anyio

LARGE = {"max_message_size": 4 * 2**20}
on_one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture(params=KINDS, ids=[kind.name for kind in KINDS])
def kind(request: pytest.FixtureRequest) -> Any:
    program(request.param.name)  # before any task group is open, which would wrap the skip
    return request.param


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp upstream", "unix upstream"])
async def test_every_message_comes_back_through_a_proxy(
    kind: Kind,
    unix: bool,
    tls: bool,
    contract: Contract,
    certificate_authority: trustme.CA,
    client_ssl: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    path = tmp_path / "ours.sock"
    options = {"listener": await anyio.create_unix_listener(path)} if unix else {}
    async with serving(contract, compression=True, **LARGE, **options) as listener:
        upstream = path if unix else f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            async with open_websocket_stream(
                proxy.url(tls=tls), ssl_context=client_ssl if tls else None, compression=True
            ) as conn:
                assert "permessage-deflate" in conn.extensions
                await echoes(conn)
                assert await conn.ping() < 10
                await is_closed_with_our_code(conn)
            await until(lambda: contract.ends)
    assert contract.ends == [DONE]


@on_one_loop
@pytest.mark.parametrize("who", ["client", "server"])
async def test_pings_keep_an_idle_connection_open_for_longer_than_the_proxys_time_out(
    kind: Kind, who: str, contract: Contract, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    intervals: dict[str, float | None] = {"client": None, "server": None, who: PATIENCE / 4}
    async with serving(contract, ping_interval=intervals["server"]) as listener:
        upstream = f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            async with open_websocket_stream(proxy.url(), ping_interval=intervals["client"]) as conn:
                await anyio.sleep(2.5 * PATIENCE)
                await echoes(conn, ["still there"])


@on_one_loop
async def test_without_pings_the_proxy_cuts_an_idle_connection_and_both_sides_know(
    kind: Kind, contract: Contract, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    async with serving(contract, ping_interval=None) as listener:
        upstream = f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            with anyio.fail_after(10 * PATIENCE):
                async with open_websocket_stream(proxy.url(), ping_interval=None) as conn:
                    with pytest.raises(ConnectionBroken):
                        await conn.receive()
                await until(lambda: contract.ends)
    assert contract.ends == [[1006, ""]]


@on_one_loop
async def test_a_client_that_pauses_for_longer_than_the_proxy_has_patience_is_cut(
    kind: Kind, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    """Pings do not help: where bytes wait for the client, nothing passes that the proxy could count as life."""
    error: BaseException | None = None

    async def flood(request: WebSocketRequest) -> None:
        nonlocal error
        async with request.accept() as conn:
            try:
                while True:
                    await conn.send(bytes(2**16))
            except ConnectionBroken as broken:
                error = broken

    async with serving(flood, ping_interval=PATIENCE / 4) as listener:
        upstream = f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            async with open_websocket_stream(proxy.url(), read_buffer=1, ping_interval=PATIENCE / 4) as conn:
                await until(lambda: error is not None)
                with anyio.fail_after(10), pytest.raises(ConnectionBroken):
                    while True:
                        await conn.receive()


async def test_a_proxy_that_is_killed_breaks_the_connection_on_both_sides_at_once(
    kind: Kind, contract: Contract, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    async with serving(contract) as listener:
        upstream = f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            async with open_websocket_stream(proxy.url()) as conn:
                await echoes(conn, ["before"])
                end(proxy.running.process)
                with anyio.fail_after(5), pytest.raises(ConnectionBroken):
                    await conn.receive()
            await until(lambda: contract.ends, within=5)
    assert contract.ends == [[1006, ""]]


@on_one_loop
async def test_a_refusal_goes_through_a_proxy_as_it_is(
    kind: Kind, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    async def refuse(request: WebSocketRequest) -> None:
        await request.reject(403, headers={"X-Why": "closed"}, body=b"not today")

    async with serving(refuse) as listener:
        upstream = f"127.0.0.1:{listener.port}"
        with kind.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            with pytest.raises(HandshakeRejected) as caught:
                async with open_websocket_stream(proxy.url()):
                    pass
    refusal = caught.value
    assert (refusal.status, refusal.headers["x-why"], refusal.body) == (403, "closed", b"not today")


@on_one_loop
async def test_the_proxy_is_the_server_that_is_missing_when_ours_is_down(
    kind: Kind, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    with kind.in_front_of("127.0.0.1:1", certificate_authority, tmp_path) as proxy:
        with pytest.raises(HandshakeRejected) as caught:
            async with open_websocket_stream(proxy.url()):
                pass
    assert caught.value.status in {502, 503}


@on_one_loop
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
async def test_haproxy_says_by_the_proxy_protocol_who_connects(
    version: str, certificate_authority: trustme.CA, tmp_path: Path
) -> None:
    hosts: list[str | None] = []

    async def note(request: WebSocketRequest) -> None:
        hosts.append(request.client_host)
        async with request.accept():
            pass

    program("haproxy")
    trusted = TrustedProxies(["127.0.0.1"])
    haproxy = next(kind for kind in KINDS if kind.name == "haproxy")
    async with serving(note, proxy_protocol=True, trusted_proxies=trusted) as listener:
        upstream = f"127.0.0.1:{listener.port} {version}"
        with haproxy.in_front_of(upstream, certificate_authority, tmp_path) as proxy:
            # On Linux all of 127/8 is this machine: an address that is not the proxy's.
            async with open_websocket_stream(proxy.url(), local_host="127.0.0.9") as conn:
                await conn.closed
    assert hosts == ["127.0.0.9"]
