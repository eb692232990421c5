"""Examples in which somebody is slow, or changes his mind: the chat room, the camera, the voices."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from edges.serving import levels
from examples.example_kit import ended, example, part, stopped, url_of
from waiting import until
from websocketstream import HandshakeRejected, WebSocketStream, open_websocket_stream
from websocketstream.testing import serve_in_memory, websocket_stream_pair

pytestmark = pytest.mark.anyio

as_a_program = pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the program's own is what matters
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


# --- the chat room


async def test_a_guest_who_does_not_read_stalls_nobody_and_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        serve_in_memory(part("chat").room) as connect,
        connect("/room?name=Ada") as ada,
        connect("/room?name=Bea") as bea,
        connect("/room?name=Sleepy", read_buffer=1000) as sleepy,
    ):
        await hears(ada, "Ada is here", "Bea is here", "Sleepy is here")
        await hears(bea, "Bea is here", "Sleepy is here")
        others: list[str | bytes] = []
        for number in range(150):
            text = f"{number} {'x' * 10_000}"
            await ada.send(text)
            for conn in (ada, bea):
                with anyio.fail_after(20):
                    while (message := await conn.receive()) != f"Ada: {text}":
                        others.append(message)
        assert others == ["Sleepy has left"] * 2
        heard = [message async for message in sleepy]
        assert heard[0] == "Sleepy is here"
        assert 1 < len(heard) < 150
        assert (await sleepy.closed).code == 1013
    assert "Sleepy was let go" in caplog.text
    assert not levels(caplog)


async def hears(conn: WebSocketStream, *messages: str) -> None:
    with anyio.fail_after(20):
        for message in messages:
            assert await conn.receive() == message


@pytest.mark.parametrize(
    "path", ["/", "/room", "/room?name=", "/room?name=%1B%5B2J", f"/room?name={'a' * 21}"]
)
async def test_nobody_comes_in_without_a_name(path: str) -> None:
    async with serve_in_memory(part("chat").room) as connect:
        with pytest.raises(HandshakeRejected, match="404"):
            async with connect(path):
                pass


@needs_signals
@as_a_program
async def test_the_chat_room_is_a_program(tmp_path: Path) -> None:
    with example(tmp_path, "chat", 0) as server:
        async with open_websocket_stream(f"{url_of(server)}/room?name=Ada") as conn:
            await conn.send("hello")
            await hears(conn, "Ada is here", "Ada: hello")
            assert "was let go" not in server.output
            server.process.send_signal(2)
            assert (await conn.closed).code == 1001
        assert "Traceback" not in ended(server)


# --- the camera

FRAMES = 300
UNDER_WAY = 4  # frames that no longer can be dropped: in the buffers of both ends, and in between


def number_of(frame: str | bytes) -> int:
    assert isinstance(frame, bytes)
    return int.from_bytes(frame[:8], "big")


async def test_a_viewer_who_paused_sees_the_newest_frame() -> None:
    camera = part("camera")
    async with (
        serve_in_memory(camera.show, low_latency=True) as connect,
        connect("/", low_latency=True) as conn,
    ):
        await until(lambda: len(camera.viewers))
        for number in range(FRAMES):
            camera.viewers.send(camera.picture(number))
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        seen = [number_of(await conn.receive())]
        while seen[-1] != FRAMES - 1:
            seen.append(number_of(await conn.receive()))
        assert seen == sorted(set(seen))
        assert len(seen) <= UNDER_WAY


async def test_a_viewer_who_keeps_up_sees_every_frame() -> None:
    camera = part("camera")
    async with (
        serve_in_memory(camera.show, low_latency=True) as connect,
        connect("/", low_latency=True) as conn,
    ):
        await until(lambda: len(camera.viewers))
        for number in range(FRAMES):
            camera.viewers.send(camera.picture(number))
            assert await conn.receive() == camera.picture(number)


@needs_signals
@as_a_program
async def test_camera_and_viewer_are_programs(tmp_path: Path) -> None:
    with example(tmp_path, "camera", 0) as server:
        with example(tmp_path, "camera", url_of(server), "0.01") as viewer:
            viewer.says(r"frame \d+\nframe \d+\n")
            stopped(viewer)
        stopped(server)


# --- the voices


async def test_behind_an_interruption_comes_nothing_stale() -> None:
    voice = part("voice_agent")
    speech, silence = voice.tone(1000), bytes(640)
    async with (
        serve_in_memory(voice.agent, capacity=4096, write_buffer=2**18) as connect,
        connect("/", read_buffer=4096) as conn,
    ):
        await conn.send(silence)
        await conn.send(speech)
        assert await conn.receive() == "clear"
        for pitch in (250, 300, 350):
            answer = voice.tone(pitch)
            await conn.send(silence)
            assert await conn.receive() == answer
            await anyio.wait_all_tasks_blocked()  # it has talked as far ahead as it may
            await conn.send(speech)
            stale = 0
            while (frame := await conn.receive()) != "clear":
                assert frame == answer
                stale += 1
            assert 0 < stale < 200, "of 500 frames, most of which waited"
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.WouldBlock):
                conn.readable.receive_nowait()


async def test_an_answer_that_nobody_interrupts_is_heard_to_its_end() -> None:
    voice = part("voice_agent")
    async with serve_in_memory(voice.agent, low_latency=True) as connect, connect("/") as conn:
        await conn.send(voice.tone(1000))
        await conn.send(bytes(640))
        assert await conn.receive() == "clear"
        for _ in range(500):
            assert await conn.receive() == voice.tone(250)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.WouldBlock):
            conn.readable.receive_nowait()


async def test_the_caller_plays_nothing_stale() -> None:
    voice = part("voice_caller")
    call = voice.Call()
    async with websocket_stream_pair() as (caller, agent), anyio.create_task_group() as tasks:
        tasks.start_soon(voice.loudspeaker, caller, call)
        await say(agent, b"old", b"old")
        await until(lambda: call.played == 2)
        call.unheard += 2  # begins to speak, twice
        await say(agent, b"old", b"old", b"old", "clear", b"old", "clear", b"new")
        await until(lambda: call.played == 3)
        assert call.stale == 4
        agent.close(1000)


async def say(conn: WebSocketStream, *messages: Any) -> None:
    for message in messages:
        await conn.send(message)


@needs_signals
@as_a_program
async def test_the_voices_talk_to_each_other(tmp_path: Path) -> None:
    with example(tmp_path, "voice_agent", 0) as agent:
        with example(tmp_path, "voice_caller", url_of(agent)) as caller:
            said = re.fullmatch(
                r"([0-9]+) frames played, ([0-9]+) came too late and were not\n", ended(caller)
            )
        assert said
        assert int(said[1]) > 0
        stopped(agent)
