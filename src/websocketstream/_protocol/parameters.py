"""What a request's query says, as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl


class QueryParams(Mapping[str, str]):
    """The parameters of a query, decoded as the browser's ``URLSearchParams`` does (WHATWG URL, section 5.1).

    ``params["x"]`` is the first one of that name, :meth:`get_all` gives every one. Bytes that are no UTF-8 become U+FFFD.
    ``repr`` shows the names only: values may be secrets.
    """

    __slots__ = ("_values",)

    def __init__(self, query: str = "") -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
            self._values.setdefault(name, []).append(value)

    def get_all(self, name: str) -> list[str]:
        """Return the values of every parameter of that name, in order; an empty list when there is none."""
        return list(self._values.get(name, ()))

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name!a}: ...' for name in self)})"
