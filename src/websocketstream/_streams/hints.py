"""What is said where people go wrong: the line that was meant, under the names that this library has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from functools import wraps
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

Options = ParamSpec("Options")
Entered = TypeVar("Entered")

ONE_RECEIVER = (
    "One task at a time receives from a connection, and none beside chunked(). Let that task hand the messages on, for example "
    "through anyio.create_memory_object_stream(), or use websocketstream.Broadcast for one message to many."
)
NOT_A_BLOCK = (
    "a WebSocketStream is not made by its class: write `async with open_websocket_stream(url) as conn:`"
)
ASYNC_FOR = "messages arrive asynchronously: write `async for message in conn.messages():`"
ASYNC_FOR_OR_RECEIVE = (
    "`conn.messages()` is to be iterated over: write `async for message in conn.messages():`, "
    "or `await conn.receive()` for one message"
)
CLOSED_IS_AWAITED = (
    "`conn.closed` is the end to wait for: write `await conn.closed`, "
    "or `conn.close_info is not None` to ask whether the connection has ended"
)

_RECEIVE = "await conn.receive()"
_SEND = "await conn.send(message)"
_ITERATE = "async for message in conn.messages()"

# What other libraries and frameworks call it, and what it is here.
NAMES_OF_OTHERS = {
    "recv": _RECEIVE,
    "get_message": _RECEIVE,
    "read": _RECEIVE,
    "receive_text": f"{_RECEIVE}, which gives str for text",
    "receive_str": f"{_RECEIVE}, which gives str for text",
    "receive_bytes": f"{_RECEIVE}, which gives bytes for binary",
    "receive_json": f"json.loads({_RECEIVE})",
    "iter_text": _ITERATE,
    "iter_bytes": _ITERATE,
    "iter_json": _ITERATE,
    "send_text": f"{_SEND}, where str goes out as text",
    "send_str": f"{_SEND}, where str goes out as text",
    "send_bytes": f"{_SEND}, where bytes go out as binary",
    "send_message": _SEND,
    "send_json": "await conn.send(json.dumps(value))",
    "write": _SEND,
    "wait_closed": "await conn.closed",
    "close_code": "conn.close_info.code once it has ended, or (await conn.closed).code",
    "close_reason": "conn.close_info.reason once it has ended, or (await conn.closed).reason",
    "subprotocol": "conn.protocol",
}

NAMES_OF_OTHERS_WITHOUT_ASYNC = {
    name: here.replace("await ", "").replace("async ", "").partition(", or (")[0]
    for name, here in NAMES_OF_OTHERS.items()
    if name != "wait_closed"  # of which there is nothing here
}


_OF_A_CONNECTION = (
    "readable",
    "writable",
    "receive",
    "send",
    "messages",
    "ping",
    "close",
    "aclose",
    "closed",
)


class NameOfOthers:
    """An attribute that is none: whoever asks for it learns what it is called here.

    Not by ``__getattr__``, which would make every attribute of the class slower to find.
    """

    __slots__ = ("_here", "_name")

    def __init__(self, name: str, here: str) -> None:
        self._name = name
        self._here = here

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}: here it is `{self._here}`"
        )


def explain_names(cls: type, names: dict[str, str] = NAMES_OF_OTHERS) -> None:
    """Let a class answer to the names that others have for what it does."""
    for name, here in names.items():
        setattr(cls, name, NameOfOthers(name, here))


def names_inside(block: str) -> dict[str, str]:
    """Return where a connection's names are to be had, for what stands outside of its block."""
    names = {name: f"conn.{name}" for name in _OF_A_CONNECTION} | NAMES_OF_OTHERS
    return {name: f"{here}` in the block of `{block.strip('`')}" for name, here in names.items()}


def public_names(thing: object) -> list[str]:
    """Return what completion shows of an object: what is public, and what Python itself asks for."""
    names_of_others = {
        name for cls in type(thing).__mro__ for name, value in vars(cls).items() if _is_of_others(value)
    }
    return [name for name in object.__dir__(thing) if is_shown(name) and name not in names_of_others]


def show_public_names(cls: type) -> None:
    """Let completion show of a class's objects what is public. Enums do that by themselves."""
    if not issubclass(cls, Enum):
        setattr(cls, "__dir__", public_names)  # noqa: B010  (a type checker sees a method of instances)


def is_shown(name: str) -> bool:
    """Tell whether completion shows a name."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _is_of_others(value: object) -> bool:
    return isinstance(value, NameOfOthers)


class OnlyAsyncWith:
    """A block that says what to write where it is awaited, entered without ``async``, or iterated over."""

    __slots__ = ()

    @property
    def how(self) -> str:
        """The line that enters it."""
        raise NotImplementedError

    def __await__(self) -> NoReturn:
        raise TypeError(f"this is a block to enter, and nothing to await: write {self.how}")

    def __enter__(self) -> NoReturn:
        raise TypeError(f"this needs an async block: write {self.how}")

    def __exit__(self, *exc_info: object) -> None:
        """Only there so that ``with`` gets as far as :meth:`__enter__`."""

    def __aiter__(self) -> NoReturn:
        raise TypeError(f"this is a block to enter before anything is iterated over: write {self.how}")

    def __iter__(self) -> NoReturn:
        self.__aiter__()

    if not TYPE_CHECKING:  # mistakes that type checkers see without us

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):  # Python itself asks for those, also before `how` can be told
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(
                f"no attribute {name!r} here: this is a block to enter first, write {self.how}"
            )


def async_block(
    how: str,
) -> Callable[
    [Callable[Options, AsyncIterator[Entered]]], Callable[Options, AbstractAsyncContextManager[Entered]]
]:
    """Return what :func:`contextlib.asynccontextmanager` is, for blocks that say what to write.

    :param how: the line that enters it
    """

    def decorate(
        function: Callable[Options, AsyncIterator[Entered]],
    ) -> Callable[Options, AbstractAsyncContextManager[Entered]]:
        make = asynccontextmanager(function)

        @wraps(function)
        def call(*args: Options.args, **options: Options.kwargs) -> AbstractAsyncContextManager[Entered]:
            return _GeneratorBlock(make(*args, **options), how)

        return call

    return decorate


class _GeneratorBlock(OnlyAsyncWith, AbstractAsyncContextManager[Entered]):
    """A block that is written as a generator."""

    __slots__ = ("_block", "_how")

    def __init__(self, block: AbstractAsyncContextManager[Entered], how: str) -> None:
        self._block = block
        self._how = how

    @property
    def how(self) -> str:
        """The line that enters it."""
        return self._how

    async def __aenter__(self) -> Entered:
        return await self._block.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(exc_type, exc, traceback)


def unsendable(error: TypeError, message: object) -> TypeError:
    """Add to what is said of a message that cannot be sent what was probably meant."""
    hint = _meant(message)
    return TypeError(f"{error}; {hint}") if hint else error


def first_unsendable(error: TypeError, messages: Iterable[object]) -> TypeError:
    """Add it for the first of several messages that cannot be sent."""
    for message in messages:
        if not isinstance(message, (str, bytes, bytearray, memoryview)):
            return unsendable(error, message)
    return error


def _meant(message: object) -> str:
    if isinstance(message, (dict, list, tuple)):
        return "to send it as JSON, send(json.dumps(...))"
    if isinstance(message, (int, float)):
        return "to send it as text, send(str(...))"
    if isawaitable(message):
        return "it is something to await first: send(await ...)"
    try:
        memoryview(message)  # type: ignore[arg-type]
    except TypeError:
        return ""
    return "to send its bytes, send(memoryview(...))"
