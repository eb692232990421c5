"""Where a redirect leads, and what may go along."""

from __future__ import annotations

import pytest

from websocketstream._protocol.errors import HandshakeRejected
from websocketstream._protocol.http import Headers, Response
from websocketstream._protocol.redirect import is_redirect, is_same_origin, redirect_target, without_secrets
from websocketstream._protocol.url import WebSocketURL, parse_url

HERE = "wss://ann:secret@example.com/a/b?q=1"


def answer(*locations: str, status: int = 302) -> Response:
    return Response(
        status, "", Headers([(b"Location", location.encode("latin-1")) for location in locations])
    )


def target(location: str, url: str = HERE) -> WebSocketURL:
    return redirect_target(parse_url(url), answer(location))


@pytest.mark.parametrize(
    ("location", "href"),
    [
        ("wss://other.example/x?y=2", "wss://other.example/x?y=2"),
        ("https://other.example", "wss://other.example/"),
        ("HTTPS://Other.Example:443/x", "wss://other.example/x"),
        ("//other.example:444/x", "wss://other.example:444/x"),
        ("/x", "wss://example.com/x"),
        ("x", "wss://example.com/a/x"),
        ("../x", "wss://example.com/x"),
        ("?y=2", "wss://example.com/a/b?y=2"),
        ("", "wss://example.com/a/b?q=1"),
        ("#part", "wss://example.com/a/b?q=1"),
        ("/x#part", "wss://example.com/x"),
        (r"\\other.example\x", "wss://example.com/a///other.example/x"),
        ("/caf\xe9", "wss://example.com/caf%C3%A9"),
    ],
)
def test_a_location_is_read_against_the_url(location: str, href: str) -> None:
    assert target(location).href == href


def test_to_tls_a_redirect_is_followed_and_never_away_from_it() -> None:
    assert target("wss://example.com/", "ws://example.com/").secure
    assert target("https://example.com/", "ws://example.com/").secure
    assert not target("http://example.com/x", "ws://example.com/").secure
    for location in ("ws://example.com/", "http://example.com:443/"):
        with pytest.raises(HandshakeRejected, match=r'it points to ".*", and from wss:// to ws:// no'):
            target(location)


@pytest.mark.parametrize(
    "location",
    [
        "ftp://example.com/",
        "https://",
        "wss://h:port/",
        "wss://[::1/",
        "wss://exa mple/",
        "mailto:ann@example.com",
    ],
)
def test_what_is_no_url_for_a_websocket_is_a_refusal_that_says_so(location: str) -> None:
    with pytest.raises(HandshakeRejected, match=r"and no WebSocket can be opened to that$") as caught:
        target(location)
    assert caught.value.status == 302


def test_two_locations_are_one_too_many() -> None:
    with pytest.raises(HandshakeRejected, match="points to more than one place"):
        redirect_target(parse_url(HERE), answer("/a", "/b"))


def test_user_info_stays_within_the_origin_and_is_never_the_servers() -> None:
    for location in ("/x", "wss://example.com:443/x", "wss://eve:evil@example.com/x"):
        assert (target(location).username, target(location).password) == ("ann", "secret")
    for location in ("wss://eve:evil@other.example/", "wss://example.com:444/", "//www.example.com/"):
        assert (target(location).username, target(location).password) == (None, None)
    assert target("wss://example.com/", "ws://ann:secret@example.com/").authorization is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_these_point_somewhere_else(status: int) -> None:
    assert is_redirect(answer("/x", status=status))
    assert not is_redirect(answer(status=status))


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 401, 503])
def test_these_do_not(status: int) -> None:
    assert not is_redirect(answer("/x", status=status))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("wss://example.com:443/x", True),
        ("https://EXAMPLE.com", True),
        ("ws://example.com:443", False),
        ("wss://example.com:444", False),
        ("wss://www.example.com", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(other: str, same: bool) -> None:
    assert is_same_origin(parse_url("wss://example.com/"), parse_url(other)) is same


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-API-Key",
        "apikey",
        "X-Auth-Token",
        "X-CSRF-Token",
        "X-Session-Id",
        "X-Amz-Signature",
        "X-Secret",
        "Password",
        "X-User-Credentials",
    ],
)
def test_a_header_field_whose_name_says_that_it_is_secret_does_not_go_to_another_origin(name: str) -> None:
    kept = [("User-Agent", "x"), ("Accept-Language", "de"), ("X-Tenant", "7")]
    assert without_secrets([(name, "canary"), *kept]) == kept


def test_an_error_shows_no_secret_of_a_location() -> None:
    with pytest.raises(HandshakeRejected) as caught:
        target("ws://ann:canary@example.com/?token=canary#canary")
    assert "canary" not in str(caught.value)
