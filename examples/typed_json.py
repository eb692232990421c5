"""Messages as typed objects: msgspec makes JSON of them, and checks what comes; what is wrong is answered, not fatal.

    pip install websocketstream msgspec
    python typed_json.py

It serves itself in memory; `run_server(calculate, ...)` would do it for others.
"""

import anyio
import msgspec

from websocketstream import WebSocketRequest
from websocketstream.testing import serve_in_memory


class Add(msgspec.Struct, tag=True):
    """A command: {"type": "Add", "numbers": [1, 2]}."""

    numbers: list[float]


class Repeat(msgspec.Struct, tag=True):
    """A command: {"type": "Repeat", "text": "ha", "times": 3}."""

    text: str
    times: int = 2


class Answer(msgspec.Struct, tag=True):
    """What comes back, or why nothing does."""

    value: float | str | None = None
    problem: str | None = None


def carry_out(command: Add | Repeat) -> Answer:
    return Answer(sum(command.numbers) if isinstance(command, Add) else command.text * min(command.times, 99))


async def calculate(request: WebSocketRequest) -> None:
    async with request.accept() as conn:
        async for message in conn.messages():
            try:
                answer = carry_out(msgspec.json.decode(message, type=Add | Repeat))
            except msgspec.DecodeError as exc:  # no JSON, or none of these types
                answer = Answer(problem=str(exc))
            await conn.send(msgspec.json.encode(answer).decode())


async def main() -> None:
    async with serve_in_memory(calculate) as connect, connect() as conn:
        for command in Add([1, 2]), Repeat("ha", 3), {"type": "Add", "numbers": ["one"]}:
            await conn.send(msgspec.json.encode(command).decode())
            print(msgspec.json.decode(await conn.receive(), type=Answer))


if __name__ == "__main__":
    anyio.run(main)
