"""The web-platform tests of WebSocketStream: our ids, their files and their names."""

from __future__ import annotations

FILES: dict[str, list[tuple[str, str]]] = {
    "abort.any.js": [
        ("wA1", "abort before constructing should prevent connection"),
        ("wA2", "abort during handshake should work"),
        ("wA3", "abort after connect should do nothing"),
    ],
    "backpressure-receive.any.js": [("wB1", "backpressure should be applied to received messages")],
    "backpressure-send.any.js": [("wB2", "backpressure should be applied to sent messages")],
    "close.any.js": [
        ("wC1", "close code should be sent to server and reflected back"),
        ("wC2", "no close argument should send empty Close frame"),
        ("wC3", "unspecified close code should send empty Close frame"),
        ("wC4", "unspecified close code with empty reason should send empty Close frame"),
        ("wC5", "unspecified close code with non-empty reason should set code to 1000"),
        ("wC6", "close(true) should throw a TypeError"),
        ("wC7", "close() with an overlong reason should throw"),
        ("wC8", "close during handshake should work"),
        ("wC9", "close() with invalid code 999 should throw"),
        ("wC10", "close() with invalid code 1001 should throw"),
        ("wC11", "close() with invalid code 2999 should throw"),
        ("wC12", "close() with invalid code 5000 should throw"),
        ("wC13", "closing the writable should result in a clean close"),
        ("wC14", "writer close() promise should not resolve until handshake completes"),
        ("wC15", "incomplete closing handshake should be considered unclean close"),
        *(
            (f"wC{first + number}", f"{action} {case}")
            for first, action in ((16, "aborting the writable"), (22, "canceling the readable"))
            for number, case in enumerate(
                [
                    "should result in a clean close",
                    "with attributes not wrapped in a WebSocketError should be ignored",
                    "with a code should send that code",
                    "with a code and reason should use them",
                    "with a reason but no code should default the close code",
                    "with a DOMException not set code or reason",
                ]
            )
        ),
    ],
    "constructor.any.js": [
        ("wK1", "constructing with no URL should throw"),
        ("wK2", "constructing with an invalid URL should throw"),
        ("wK3", "constructing with invalid options should throw"),
        ("wK4", "protocols should be required to be a list"),
        ("wK5", "constructing with a valid URL should work"),
        ("wK6", "setting a protocol in the constructor should work"),
        ("wK7", "connection failure should reject the promises"),
        ("wK8", "wss.opened should resolve to the right types"),
    ],
    "read.any.js": [("wR1", "read type for binary messages is Uint8Array")],
    "remote-close.any.js": [
        ("wD1", "clean close should be clean"),
        ("wD2", "close frame with no body should result in status code 1005"),
        ("wD3", "reason should be passed through"),
        ("wD4", "UTF-8 reason should work"),
        ("wD5", "close with unwritten data should not be considered clean"),
        ("wD6", "remote code and reason should be used"),
        ("wD7", "abrupt close should give an error"),
    ],
    "websocket-error.any.js": [
        ("wE1", "WebSocketError defaults should be correct"),
        ("wE2", "WebSocketError should be initialised from arguments"),
        ("wE3", "new WebSocketError with invalid code 999 should throw"),
        ("wE4", "new WebSocketError with invalid code 1001 should throw"),
        ("wE5", "new WebSocketError with invalid code 2999 should throw"),
        ("wE6", "new WebSocketError with invalid code 5000 should throw"),
        ("wE7", "passing only close code to WebSocketError should work"),
        ("wE8", "passing a non-empty reason should cause the close code to be set to 1000"),
        ("wE9", "overlong reason should throw"),
        ("wE10", "reason should be rejected based on utf-8 bytes, not character count"),
    ],
    "write.any.js": [
        ("wW1", "a write that was incomplete at close time should reject"),
        ("wW2", "garbage collection after close with a pending write promise should not crash"),
        ("wW3", "writing a value that cannot be stringified should cause a rejection"),
        ("wW4", "writing a resizable ArrayBuffer should be rejected"),
        ("wW5", "writing a view on a shared buffer should be rejected"),
        ("wW6", "Garbage collecting a WebSocket stream doesn't crash while write promise is pending"),
    ],
}

# What the specification leaves open, or other implementations got wrong (id -> what must hold).
BEYOND: dict[str, str] = {
    "6.4": "a write after one's own close raises instead of being dropped in silence",
    "6.6": "an unclean close does not drop what was received before it",
    "6.20.1": "close with an unread backlog is clean and fast",
    "6.20.2": "close while a write is blocked ends by the deadline",
    "6.20.3": "incoming pings, while reading and while idle, never break a read",
    "6.20.4": "no noise after a failed open",
    "6.20.5": "200,000 unread messages: memory stays flat",
    "6.20.6": "double close, close after cancel, cancel after close",
    "6.20.7": "messages and a Close in the same packet as the 101",
    "6.20.8": "the echo of a Close keeps code and reason, an empty one stays empty",
    "6.20.9": "a Close with one byte, with 1005, 1006 or 1015, or with a bad reason fails the connection",
    "6.20.10": "a receive cancelled by a timeout loses no message",
    "6.20.11": "a cancel scope before, during and after the handshake",
    "6.20.12": "a send cancelled in the middle of its frame corrupts nothing",
    "6.20.13": "an exception raised in the body leaves the block unchanged",
    "6.20.14": "a receive and a write in flight when the connection breaks raise the same error",
    "6.20.15": "all of it on asyncio and on trio, over ws and over wss",
    "6.20.16": "Autobahn, client and server",
}
