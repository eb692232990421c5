"""Which proxy the environment asks for, and for which hosts it asks for none."""

from __future__ import annotations

from urllib.request import getproxies_environment, proxy_bypass_environment

import pytest
from hypothesis import given, strategies as st

from websocketstream._protocol.environment import EnvironmentProxies
from websocketstream._protocol.url import ProxyURL, parse_url


def proxy_of(environ: dict[str, str], url: str = "wss://example.com/") -> str | None:
    proxy = EnvironmentProxies(environ).proxy_for(parse_url(url))
    return None if proxy is None else str(proxy)


def is_direct(no_proxy: str, url: str) -> bool:
    return proxy_of({"all_proxy": "http://proxy:1", "no_proxy": no_proxy}, url) is None


@pytest.mark.parametrize(
    ("names", "secure", "plain"),
    [
        (["wss_proxy", "https_proxy", "all_proxy"], "http://0:1", "http://2:1"),
        (["https_proxy", "all_proxy", "wss_proxy"], "http://2:1", "http://1:1"),
        (["all_proxy"], "http://0:1", "http://0:1"),
        (["https_proxy"], "http://0:1", None),
        (["ws_proxy", "http_proxy"], None, "http://0:1"),
        (["http_proxy"], None, "http://0:1"),
        (["ftp_proxy", "socks_proxy"], None, None),
    ],
)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_the_variable_of_the_scheme_comes_first(
    names: list[str], secure: str | None, plain: str | None, case: type[str]
) -> None:
    # The number of each is its host, an IPv4 address to be.
    environ = {case(name): f"http://{number}:1" for number, name in enumerate(names)}

    def host(url: str | None) -> str | None:
        return url and url.replace("//0.0.0.", "//")

    assert host(proxy_of(environ, "wss://example.com/")) == secure
    assert host(proxy_of(environ, "ws://example.com/")) == plain


def test_lower_case_comes_before_upper_case_also_when_it_is_empty() -> None:
    assert proxy_of({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}) == "http://low:1"
    assert proxy_of({"https_proxy": "", "HTTPS_PROXY": "http://up:1"}) is None
    assert proxy_of({"wss_proxy": " ", "https_proxy": "http://low:1"}) == "http://low:1"


def test_what_may_be_a_field_of_a_request_to_a_cgi_script_is_not_believed() -> None:
    cgi = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://evil:1"}
    assert proxy_of(cgi, "ws://example.com/") is None
    assert proxy_of({**cgi, "http_proxy": "http://good:1"}, "ws://example.com/") == "http://good:1"
    assert proxy_of({"HTTP_PROXY": "http://good:1"}, "ws://example.com/") == "http://good:1"


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    environ = {"https_proxy": "ann:secret@proxy:3128"}
    assert EnvironmentProxies(environ).proxy_for(parse_url("wss://example.com/")) == ProxyURL(
        "http", "proxy", 3128, "ann", "secret"
    )
    assert proxy_of({"https_proxy": "socks5h://proxy:1080"}) == "socks5h://proxy:1080"


@pytest.mark.parametrize("value", ["ftp://ann:canary@proxy:1", "http://ann:canary@proxy", "ann:canary"])
def test_a_variable_that_makes_no_sense_is_named_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match=r"the environment's all_proxy cannot be used: ") as caught:
        proxy_of({"ALL_PROXY": value})
    assert "canary" not in str(caught.value)
    assert proxy_of({"ALL_PROXY": value, "NO_PROXY": "example.com"}) is None, "it is not needed"


def test_the_environment_is_looked_at_once_and_not_shown() -> None:
    environ = {"https_proxy": "http://ann:canary@proxy:1"}
    proxies = EnvironmentProxies(environ)
    environ.clear()
    assert proxies.proxy_for(parse_url("wss://example.com/")) is not None
    assert "canary" not in repr(proxies)


LABELS = st.lists(st.sampled_from(["a", "b", "ab", "c-d"]), min_size=1, max_size=3).map(".".join)


@given(
    LABELS,
    st.lists(
        st.tuples(st.sampled_from(["", "."]), LABELS, st.sampled_from(["", ":8080", ":80"])), max_size=3
    ),
)
def test_names_are_matched_as_urllib_does(host: str, entries: list[tuple[str, str, str]]) -> None:
    no_proxy = ",".join(map("".join, entries))
    expected = proxy_bypass_environment(f"{host}:8080", {"no": no_proxy})
    assert is_direct(no_proxy, f"ws://{host}:8080") == bool(expected)


@given(
    st.dictionaries(
        st.sampled_from(["https_proxy", "HTTPS_PROXY"]), st.sampled_from(["", "http://a:1", "http://b:1"])
    )
)
def test_the_case_of_a_variable_matters_as_for_urllib(environ: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("https_proxy", "HTTPS_PROXY"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        assert proxy_of(environ) == getproxies_environment().get("https")


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "ws://example.com"),
        ("a.test, *", "ws://[::1]"),
        ("example.com", "ws://example.com"),
        ("example.com", "ws://www.example.com"),
        (".example.com", "ws://example.com"),
        (".example.com", "ws://a.b.example.com"),
        ("*.example.com", "ws://www.example.com"),
        ("EXAMPLE.com", "ws://Example.COM"),
        ("example.com.", "ws://example.com"),
        ("example.com", "ws://example.com."),
        ("a.test,example.com", "ws://example.com"),
        ("a.test example.com", "ws://example.com"),
        (" a.test ,\texample.com ", "ws://example.com"),
        ("b\u00fccher.example", "ws://b\u00fccher.example"),
        ("xn--bcher-kva.example", "ws://b\u00fccher.example"),
        ("example.com:8080", "ws://example.com:8080"),
        ("example.com:80", "ws://example.com"),
        ("example.com:443", "wss://example.com"),
        (".example.com:8080", "ws://www.example.com:8080"),
        ("localhost", "ws://localhost:8765"),
        ("10.0.0.1", "ws://10.0.0.1"),
        ("10.0.0.1:8080", "ws://10.0.0.1:8080"),
        ("10.0.0.0/8", "ws://10.1.2.3"),
        ("10.1.2.3/8", "ws://10.200.0.1"),
        ("10.0.0.0/8", "ws://[::ffff:10.1.2.3]"),
        ("::1", "ws://[::1]"),
        ("[::1]", "ws://[::1]:8080"),
        ("[::1]:8080", "ws://[::1]:8080"),
        ("0:0:0:0:0:0:0:1", "ws://[::1]"),
        ("fd00::/8", "ws://[fd12::1]"),
        ("[fd00::]/8", "ws://[fd12::1]"),
        ("0.0.0.0/0", "ws://192.0.2.1"),
    ],
)
def test_these_are_connected_to_directly(no_proxy: str, url: str) -> None:
    assert is_direct(no_proxy, url)


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "ws://example.com"),
        (",, ,", "ws://example.com"),
        ("example.com", "ws://badexample.com"),
        ("example.com", "ws://example.com.evil.test"),
        ("www.example.com", "ws://example.com"),
        ("com:80", "ws://example.com:8080"),
        ("example.com:8080", "ws://example.com"),
        ("example.com:99999", "ws://example.com"),
        ("example.com:", "ws://example.com"),
        ("exam*.com", "ws://example.com"),
        ("*ample.com", "ws://sub.example.com"),
        ("10.0.0.1", "ws://110.0.0.1"),
        ("0.0.1", "ws://10.0.0.1"),
        ("10.0.0.0/8", "ws://11.0.0.1"),
        ("10.0.0.0/8", "ws://example.com"),
        ("10.0.0.0/99", "ws://10.0.0.1"),
        ("0.0.0.0/0", "ws://[::1]"),
        ("::/0", "ws://10.0.0.1"),
        ("[::1]:443", "ws://[::1]"),
        ("[::1", "ws://[::1]"),
        ("::2", "ws://[::1]"),
        (".", "ws://example.com"),
        ("http://example.com", "ws://example.com"),
        ("ex\u2100mple.com", "ws://example.com"),
    ],
)
def test_these_are_not(no_proxy: str, url: str) -> None:
    assert not is_direct(no_proxy, url)
