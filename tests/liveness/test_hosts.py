"""A peer is given up when its host is gone, and only then: on real links, with real TCP on both sides.

Each test plays all the kinds of connections at the same time: plain and TLS, as a client and as a server.
"""

from __future__ import annotations

import hashlib
import math
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import namespaces
import pytest
from namespaces import FarHost, in_a_namespace

from websocketstream import (
    ConnectionBroken,
    WebSocketRequest,
    WebSocketStream,
    open_websocket_stream,
    serve_websocket_streams,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.netns, pytest.mark.timeout(40)]

INTERVAL, TIMEOUT = 1.0, 2.0
PATIENCE = INTERVAL + TIMEOUT
SLACK = 0.5  # seconds that a busy machine may be late
UNHEARD = PATIENCE + 2  # seconds for which a living peer does what looks like death

MESSAGE = bytes(range(256)) * 256
MESSAGES = 224  # 14 MiB: more than the buffers of both hosts ever take, which grow up to 10

PAUSES = f"/pauses?seconds={UNHEARD}"
READS_SLOWLY = f"/reads-slowly?rate=100000&seconds={UNHEARD}"
TALKS_AND_READS_SLOWLY = f"/talks-and-reads-slowly?rate=100000&seconds={UNHEARD}"
LISTENS = "/listens"
NEVER_READS = "/never-reads"
NEVER_READS_BUT_WRITES = "/never-reads-but-writes"
NEVER_ANSWERS = "/never-answers"
BURST = 16  # messages, 1 MiB: what a system takes, though its application needs ten seconds to read it

BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest) -> Any:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    backend, options = BACKENDS[request.param]
    return partial(anyio.run, backend=backend, backend_options=options)


@dataclass
class Story:
    """What one connection went through."""

    name: str
    address: str  # of the other host
    ended: bool = False
    failed_at: float | None = None  # when its user learned about it
    sent_before_the_end_of_the_pause: int = 0
    error: Exception | None = None
    answer: object = None
    clean: bool | None = None


@dataclass
class Stories:
    """The connections of a test, by what they are."""

    told: list[Story] = field(default_factory=list)

    @contextmanager
    def tell(self, name: str, address: str) -> Iterator[Story]:
        """Live through one; its error is part of the story."""
        story = Story(name, address)
        self.told.append(story)
        try:
            yield story
        except Exception as error:
            story.error = error
        finally:
            story.ended = True

    @property
    def all_ended(self) -> bool:
        return all(story.ended for story in self.told)


async def send_everything(conn: WebSocketStream, story: Story) -> None:
    """Send more than all buffers take, and compare with what the peer says it has got."""
    started = time.monotonic()
    for number in range(MESSAGES):
        await conn.send(MESSAGE)
        if time.monotonic() < started + UNHEARD:
            story.sent_before_the_end_of_the_pause = number
    await conn.send("end")
    story.answer = await conn.receive()


async def send_burst(conn: WebSocketStream, story: Story) -> None:
    """Send what the other host takes at once, and be silent."""
    for _ in range(BURST):
        await conn.send(MESSAGE)
    await conn.send("end")
    assert await conn.receive() == "hello"
    story.answer = await conn.receive()


async def echo(conn: WebSocketStream, story: Story) -> None:
    """Answer messages; where nobody reads the answers, we soon read nothing any more."""
    try:
        async for message in conn:
            await conn.send(message)
    finally:
        story.failed_at = time.monotonic()


async def send_forever(conn: WebSocketStream, story: Story) -> None:
    """Send until that fails."""
    try:
        while True:
            await conn.send(MESSAGE)
    finally:
        story.failed_at = time.monotonic()


async def wait_for_messages(conn: WebSocketStream, story: Story) -> None:
    """Send nothing."""
    try:
        async for _message in conn:
            pass
    finally:
        story.failed_at = time.monotonic()


async def only_listen(conn: WebSocketStream, story: Story) -> None:
    """Say that nothing more will be sent, behind which there are no pings."""
    await conn.send_eof()
    await wait_for_messages(conn, story)


WHAT_WE_DO = {
    PAUSES: send_everything,
    READS_SLOWLY: send_everything,
    TALKS_AND_READS_SLOWLY: send_burst,
    LISTENS: wait_for_messages,
    NEVER_READS: send_forever,
    NEVER_READS_BUT_WRITES: echo,
    NEVER_ANSWERS: only_listen,
}


@dataclass
class Cast:
    """Servers and clients on both hosts, for a test."""

    certificates: Path
    stories: Stories = field(default_factory=Stories)

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=str(self.certificates / "ca.pem"))
        if purpose is ssl.Purpose.CLIENT_AUTH:
            context.load_cert_chain(self.certificates / "cert.pem")
        return context

    async def play(
        self, host: FarHost, paths: list[str], group: anyio.abc.TaskGroup, *, large_buffer: bool = False
    ) -> None:
        """Start a connection of each kind for each path."""
        for tls in (False, True):
            scheme = "wss" if tls else "ws"
            client = self.context(ssl.Purpose.SERVER_AUTH) if tls else None
            server = self.context(ssl.Purpose.CLIENT_AUTH) if tls else None
            far_port = host.tell("serve", tls=tls, large_buffer=large_buffer)
            serve = partial(
                serve_websocket_streams,
                partial(self.as_server, host, scheme),
                host.near_address,
                origins=None,
                ssl_context=server,
                ping_interval=INTERVAL,
                ping_timeout=TIMEOUT,
            )
            listener = await group.start(serve)
            for path in paths:
                url = f"{scheme}://{host.address}:{far_port}{path}"
                group.start_soon(partial(self.as_client, host, url, path, client))
                host.tell(
                    "connect",
                    host=host.near_address,
                    port=listener.port,
                    path=path,
                    tls=tls,
                    large_buffer=large_buffer,
                )

    async def as_client(self, host: FarHost, url: str, path: str, context: ssl.SSLContext | None) -> None:
        with self.stories.tell(f"client of {url}", host.address) as story:
            async with open_websocket_stream(
                url, ssl_context=context, ping_interval=INTERVAL, ping_timeout=TIMEOUT
            ) as conn:
                await WHAT_WE_DO[path](conn, story)
            story.clean = conn.close_info is not None and conn.close_info.clean

    async def as_server(self, host: FarHost, scheme: str, request: WebSocketRequest) -> None:
        path = request.target
        with self.stories.tell(f"{scheme} server of {path}", host.address) as story:
            async with request.accept() as conn:
                await WHAT_WE_DO[path](conn, story)
            story.clean = conn.close_info is not None and conn.close_info.clean


async def until_all_ended(stories: Stories, *, count: int, within: float) -> None:
    """Wait for the end of so many stories, or for the end of patience: the test looks at each of them."""
    with anyio.move_on_after(within):
        while len(stories.told) < count or not stories.all_ended:
            await anyio.sleep(0.02)


def test_a_peer_that_pauses_or_reads_slowly_lives_and_gets_everything(run: Any, certificates: Path) -> None:
    async def main(host: FarHost) -> list[Story]:
        cast = Cast(certificates)
        async with anyio.create_task_group() as group:
            await cast.play(host, [PAUSES, READS_SLOWLY], group)
            await until_all_ended(cast.stories, count=8, within=UNHEARD + 10)
            group.cancel_scope.cancel()
        return cast.stories.told

    stories = in_a_namespace(partial(run, main), certificates, hosts=1)
    digest = hashlib.sha256(MESSAGE * MESSAGES).hexdigest()
    assert {story.name: story.error for story in stories if story.error} == {}
    assert {story.name: story.answer for story in stories if story.answer != digest} == {}
    assert {story.name for story in stories if not story.clean} == set()
    assert len(stories) == 8
    # The buffers were full: more could not be sent.
    assert max(story.sent_before_the_end_of_the_pause for story in stories) < MESSAGES - 1


def test_a_peer_that_talks_while_it_reads_a_backlog_slowly_lives_and_gets_everything(
    run: Any, certificates: Path
) -> None:
    """What its system has acknowledged is not read yet: its pong has to wait, although nothing of ours waits."""

    async def main(host: FarHost) -> list[Story]:
        cast = Cast(certificates)
        async with anyio.create_task_group() as group:
            await cast.play(host, [TALKS_AND_READS_SLOWLY], group, large_buffer=True)
            await until_all_ended(cast.stories, count=4, within=UNHEARD + 10)
            group.cancel_scope.cancel()
        return cast.stories.told

    stories = in_a_namespace(partial(run, main), certificates, hosts=1)
    digest = hashlib.sha256(MESSAGE * BURST).hexdigest()
    assert {story.name: story.error for story in stories if story.error} == {}
    assert {story.name: story.answer for story in stories if story.answer != digest} == {}
    assert len(stories) == 4


def test_a_host_that_vanished_is_found_in_interval_and_timeout(run: Any, certificates: Path) -> None:
    """With nothing on its way, and with full buffers, also where we cannot read on before we have written, or have said all.

    In silence, and with a link that is seen to go down.
    """

    async def main(*hosts: FarHost) -> dict[str, tuple[Story, float]]:
        cast = Cast(certificates)
        async with anyio.create_task_group() as group:
            for host in hosts:
                await cast.play(host, [LISTENS, NEVER_READS, NEVER_READS_BUT_WRITES, NEVER_ANSWERS], group)
            await anyio.sleep(UNHEARD)  # they live so long without reading
            assert len(cast.stories.told) == 16 * len(hosts)
            early = {story.name: story.error for story in cast.stories.told if story.failed_at}
            vanished_at = {}
            for host, how in zip(hosts, ["in silence", "link down"], strict=True):
                vanished_at[host.address] = time.monotonic()
                host.tell("vanish", how=how)
            await until_all_ended(cast.stories, count=0, within=PATIENCE + 5)
            group.cancel_scope.cancel()
        assert not early
        return {
            f"{story.name}, {story.address}": (story, vanished_at[story.address])
            for story in cast.stories.told
        }

    stories = in_a_namespace(partial(run, main), certificates, hosts=2)
    if not namespaces.can_probe_often():
        # The next probe of a closed window may be minutes away: see docs/explanation/keepalive.md.
        stories = {name: story for name, story in stories.items() if NEVER_READS not in name}
    assert {
        name for name, (story, _) in stories.items() if not isinstance(story.error, ConnectionBroken)
    } == set()
    after = {name: (story.failed_at or math.inf) - vanished for name, (story, vanished) in stories.items()}
    late = {name: seconds for name, seconds in after.items() if seconds > PATIENCE + SLACK}
    # Where TCP itself has to find out it counts whole seconds.
    assert {
        name: seconds
        for name, seconds in late.items()
        if NEVER_ANSWERS not in name or seconds > PATIENCE + 1 + SLACK
    } == {}
