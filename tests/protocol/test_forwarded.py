"""Who the client is behind proxies: nobody is believed who could not know, or whom nobody trusts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from websocketstream import Headers, TrustedProxies

OURS = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]


def client(peer: str | None, *values: str, field: str = "X-Forwarded-For", proxies: Any = OURS) -> str | None:
    headers = Headers([(field.encode(), value.encode("latin-1")) for value in values])
    return TrustedProxies(proxies, field=field).client_host(peer, headers)


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["192.0.2.1", "10.0.0.2"], "192.0.2.1"),
        # What a client has sent itself stands in front of what our proxies have added.
        ("10.0.0.1", ["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        ("192.0.2.1", ["6.6.6.6"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["192.0.2.1:4711"], "192.0.2.1"),
        ("fd00::1%eth0", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["192.0.2.1, <script>"], None),
        (None, ["192.0.2.1"], None),
        ("/run/socket", ["192.0.2.1"], None),
    ],
)
def test_the_hops_are_followed_as_long_as_the_one_who_speaks_is_trusted(
    peer: str | None, values: list[str], expected: str | None
) -> None:
    assert client(peer, *values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "10.0.0.1"),
        (["for=192.0.2.1;proto=https;by=10.0.0.1"], "192.0.2.1"),
        (["For=6.6.6.6, FOR=192.0.2.1"], "192.0.2.1"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['by=x;for="192.0.2.1:80" ; host="a, for=6.6.6.6"'], "192.0.2.1"),
        (["for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
        ([r'for="192.0.2.\1"'], "192.0.2.1"),
        (["for=_hidden"], None),
        (["proto=https"], None),
        (['for="192.0.2.1'], None),
        (["for=192.0.2.1; ,"], None),
        (["nonsense"], None),
        (["for=192.0.2.1,, for=10.0.0.2,"], "192.0.2.1"),
        (['for="', "for=192.0.2.1"], "192.0.2.1"),
        (["for=192.0.2.1;host=x;for=6.6.6.6"], None),
        (["for=" + " " * 8000 + '"'], None),
    ],
)
def test_the_standard_field_has_a_grammar_of_its_own(values: list[str], expected: str | None) -> None:
    assert client("10.0.0.1", *values, field="Forwarded") == expected


def test_only_the_field_that_the_proxies_set_is_looked_at() -> None:
    headers = Headers([(b"Forwarded", b"for=6.6.6.6"), (b"X-Forwarded-For", b"192.0.2.1")])
    assert TrustedProxies(OURS).client_host("10.0.0.1", headers) == "192.0.2.1"


def test_peers_without_an_address_are_trusted_by_name() -> None:
    assert client("unix", "192.0.2.1", proxies=["unix"]) == "192.0.2.1"
    assert client("unix", proxies=["unix"]) is None
    assert client(None, "192.0.2.1", proxies=["unix"]) is None
    assert client("10.0.0.1", "192.0.2.1", proxies=["unix"]) == "10.0.0.1"


def test_it_shows_who_is_trusted() -> None:
    assert repr(TrustedProxies([])) == "TrustedProxies([])"
    shown = repr(TrustedProxies(["127.0.0.1", "unix"], field="Forwarded"))
    assert shown == "TrustedProxies(['unix', '127.0.0.1/32'], field='Forwarded')"


@pytest.mark.parametrize(
    ("proxies", "options", "error"),
    [
        ("10.0.0.1", {}, TypeError),
        (None, {}, TypeError),
        ([1], {}, TypeError),
        (["10.0.0.1/8"], {}, ValueError),
        (["proxy.example"], {}, ValueError),
        ([], {"field": "X-Real-IP"}, ValueError),
    ],
)
def test_wrong_arguments_are_said_plainly(proxies: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        TrustedProxies(proxies, **options)


@given(
    st.sampled_from(["X-Forwarded-For", "Forwarded"]), st.lists(st.text('for="\\[]:;, 1.a%\t_', max_size=30))
)
def test_no_value_is_an_error(field: str, values: list[str]) -> None:
    client("10.0.0.1", *values, field=field)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("192.0.2.1", False),
        ("unix", False),
        (None, False),
        ("?", False),
    ],
)
def test_who_is_trusted_can_be_asked(peer: str | None, trusted: bool) -> None:
    assert TrustedProxies(OURS).trusts(peer) is trusted
    assert TrustedProxies(["unix"]).trusts(peer) is (peer == "unix")


def test_nobody_trusted_is_false() -> None:
    assert not TrustedProxies([])
    assert TrustedProxies(["unix"])
    assert TrustedProxies(OURS)
