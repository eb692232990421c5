"""`websocket-client`: python websocket_client_program.py URL."""

from __future__ import annotations

import json
import sys
from typing import Any

import websocket
from websocket import ABNF

from interop.exchanges import MESSAGES


def fragments(connection: Any, message: str | bytes) -> None:
    opcode = ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY
    data = message.encode() if isinstance(message, str) else message
    size = -(-len(data) // 7)
    for number in range(7):
        part = data[number * size : (number + 1) * size]
        frame = ABNF.create_frame(part, opcode if number == 0 else ABNF.OPCODE_CONT, int(number == 6))
        connection.send_frame(frame)


def whole(connection: Any, message: str | bytes) -> None:
    (connection.send if isinstance(message, str) else connection.send_binary)(message)


def main() -> None:
    url = sys.argv[1]
    connection = websocket.create_connection(url, subprotocols=["echo"], timeout=20)
    result: dict[str, Any] = {"protocol": connection.getsubprotocol()}
    if url.endswith("/echo"):
        result["wrong"] = 0
        for message in MESSAGES:
            for send in (whole, fragments):
                send(connection, message)
                result["wrong"] += connection.recv() != message
        connection.ping("there?")
        opcode, data = connection.recv_data(control_frame=True)
        result["pong"] = [opcode == ABNF.OPCODE_PONG, data.decode()]
        connection.send_close(4000, b"done")
    opcode, frame = connection.recv_data_frame(control_frame=True)
    assert opcode == ABNF.OPCODE_CLOSE
    result["close"] = [int.from_bytes(frame.data[:2], "big"), frame.data[2:].decode()]
    connection.shutdown()
    print(json.dumps(result))


main()
