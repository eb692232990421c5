"""What logs in: values of the ``Authorization`` field, checked where they are made."""

from __future__ import annotations

import base64
import re

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def basic_auth(username: str, password: str) -> str:
    """Return the value of the ``Authorization`` field for a user name and a password (RFC 7617), in UTF-8.

    No message shows either.

    :raises TypeError: one of them is no str
    :raises ValueError: there is a colon in the user name, or a character in one of them that is no text
    """
    _check_str("username", username)
    _check_str("password", password)
    if ":" in username:
        raise ValueError("the user name has a colon, which HTTP Basic authentication cannot carry")
    if _NOT_TEXT.search(username + password):
        raise ValueError("the user name or the password has a control character or a lone surrogate")
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def bearer_auth(token: str) -> str:
    """Return the value of the ``Authorization`` field for a token (RFC 6750 section 2.1). No message shows it.

    :raises TypeError: it is no str
    :raises ValueError: it is empty, or has a character that no token may have, such as a line end of the file that it is from
    """
    _check_str("token", token)
    if not _TOKEN68.fullmatch(token):
        raise ValueError(
            "a bearer token is made of ASCII letters, digits and - . _ ~ + /, with = at the end: no space, no line end"
        )
    return f"Bearer {token}"


def _check_str(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
