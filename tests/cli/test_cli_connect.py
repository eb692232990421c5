"""Connecting by the command line: what the options do, and what is said when there is no connection."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from cli.cli_kit import LOGIN, serving
from ports import free_port
from websocketstream._cli import connect, main as command_line
from websocketstream._cli.main import main

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as served:
        yield served.rstrip("/")


@pytest.fixture(scope="module")
def secure_url(server_ssl: ssl.SSLContext) -> Iterator[str]:
    with serving(server_ssl) as served:
        yield served.rstrip("/")


@pytest.fixture
def authority(certificate_authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    certificate_authority.cert_pem.write_to_path(str(path))
    return path


def answer(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, which has to go well, and return what it writes."""
    code = main([*arguments])
    shown = capfd.readouterr()
    assert (code, shown.err) == (0, "")
    return shown.out


def complaint(capfd: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """Run the command line, which has to fail, and return what it says; it writes nothing."""
    assert main([*arguments]) == code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("websocketstream: ")
    assert shown.err.count("\n") == 1
    return shown.err


@both_backends
def test_what_is_sent_is_answered(url: str, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    shown = answer(capfd, "--backend", backend, "-x", "hello", "-x", "you\nthere", "-n2", f"{url}/echo")
    assert shown == "hello\nyou\nthere\n"


@both_backends
def test_a_feed_is_written_to_its_end(url: str, backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(capfd, "--backend", backend, "-N", f"{url}/feed") == "one\ntwo\nthree\n"


def test_the_request_says_what_the_options_say(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["-H", "X-Team: a", "-s", "chat", "-o", "http://a.example", "--auth", "me:secret", "--compress"]
    seen = json.loads(answer(capfd, *options, "-N", f"{url}/headers"))
    extensions = seen.pop("sec-websocket-extensions")
    assert extensions.startswith("permessage-deflate")
    assert seen == {
        "x-team": "a",
        "origin": "http://a.example",
        "authorization": LOGIN,
        "sec-websocket-protocol": "chat",
    }


def test_a_token_logs_in(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    seen = json.loads(answer(capfd, "--bearer", "abc.def", "-N", f"{url}/headers"))
    assert seen["authorization"] == "Bearer abc.def"


def test_a_password_that_is_missing_is_asked_for(
    url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret" if prompt == "password of me: " else "")
    assert json.loads(answer(capfd, "--auth", "me", "-N", f"{url}/headers"))["authorization"] == LOGIN


def test_kinds_of_messages(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(capfd, "-x", "hello", "-n1", f"{url}/sizes") == "str 5\n"
    assert answer(capfd, "-b", "-x", "hello", "-n1", f"{url}/sizes") == "bytes 5"
    assert answer(capfd, "-1", "-x", "a", "-x", "b", "-n1", f"{url}/sizes") == "str 2\n"
    assert answer(capfd, "--json", "-x", '{"a": 1}', "-n1", f"{url}/echo") == '{"a":1}\n'


def test_redirects_are_followed_where_that_is_asked_for(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert answer(capfd, "-L", "-x", "hello", "-n1", f"{url}/moved") == "hello\n"
    assert "-L follows redirects" in complaint(capfd, "-N", f"{url}/moved", code=4)


# --- TLS


def test_a_certificate_that_nobody_vouches_for_is_explained_and_can_be_accepted(
    secure_url: str, authority: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capfd, "-N", f"{secure_url}/feed", code=3)
    assert "certificate not accepted" in said
    assert "--cacert FILE" in said
    assert "--insecure" in said
    assert answer(capfd, "-N", "-k", f"{secure_url}/feed").startswith("one")
    assert answer(capfd, "-N", "--cacert", str(authority), f"{secure_url}/feed").startswith("one")


def test_a_client_certificate_is_shown(
    certificate_authority: trustme.CA, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(strict)
    certificate_authority.configure_trust(strict)
    strict.verify_mode = ssl.CERT_REQUIRED
    mine, key = tmp_path / "me.pem", tmp_path / "key.pem"
    certificate = certificate_authority.issue_cert("me")
    certificate.cert_chain_pems[0].write_to_path(str(mine))
    certificate.private_key_pem.write_to_path(str(key))
    with serving(strict) as served:
        where = f"{served}/feed"
        assert answer(capfd, "-N", "-k", "--cert", str(mine), "--key", str(key), where).startswith("one")
        assert "--cert" in complaint(capfd, "-N", "-k", where, code=3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cacert", "{tmp}/missing.pem"], "No such file"),
        (["--cacert", "{tmp}/no.pem"], "no PEM file"),
        (["--cert", "{tmp}/missing.pem"], "No such file"),
        (["--cert", "{tmp}/no.pem"], "no PEM file"),
        (["--cert", "{tmp}/no.pem", "--key", "{tmp}/missing.pem"], "no such file"),
        (["--key", "{tmp}/no.pem"], "--key is for the certificate of --cert"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    options: list[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    options = [option.format(tmp=tmp_path) for option in options]
    assert says in complaint(capfd, *options, "wss://127.0.0.1:1", code=2)


# --- no connection


def test_a_port_where_nothing_listens_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    assert "nothing listens there" in complaint(capfd, f"ws://127.0.0.1:{free_port()}", code=3)


def test_a_server_that_says_nothing_is_waited_for_only_so_long(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        where = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        said = complaint(capfd, "--timeout", "0.1", where, code=3)
    assert "--timeout 0.1 s" in said


def test_a_proxy_that_is_not_there_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    said = complaint(capfd, "--proxy", f"http://127.0.0.1:{free_port()}", "ws://example.com", code=3)
    assert "through the proxy" in said


@pytest.mark.parametrize(
    ("status", "says"), [("401", "--auth USER:PASSWORD"), ("403", "--origin"), ("404", "check the path")]
)
def test_refusals_say_what_to_do(url: str, status: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    said = complaint(capfd, f"{url}/refuse/{status}", code=4)
    assert says in said
    assert "\x1b" not in said


def test_a_server_of_something_else_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                client.recv(65536)

        thread = threading.Thread(target=speak)
        thread.start()
        said = complaint(capfd, f"ws://127.0.0.1:{listening.getsockname()[1]}", code=4)
        thread.join()
    assert "check that a WebSocket server is at this URL" in said


def test_a_url_that_makes_no_sense_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    assert "no scheme" in complaint(capfd, "localhost:8765", code=2)
    assert "use ws, wss" in complaint(capfd, "ftp://localhost", code=2)


def test_options_of_tls_without_tls_are_called_what_they_are_called_here(
    capfd: pytest.CaptureFixture[str],
) -> None:
    for words in (["-k", "ws://localhost"], ["bench", "-k", "ws://localhost"]):
        said = complaint(capfd, *words, code=2)
        assert "--insecure, --cacert and --cert are for TLS" in said
        assert "use wss:// instead of ws://" in said
    assert ": --proxy must be a URL" in complaint(capfd, "--proxy", "ftp://h", "ws://localhost", code=2)


@pytest.mark.parametrize(("word", "meant"), [("serv", "serve"), ("Serve", "serve"), ("doc", "docs")])
def test_a_command_that_is_mistyped_is_not_taken_for_a_url(
    word: str, meant: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([word, "--echo"])
    assert caught.value.code == 2
    assert f"there is no command {word!r}; did you mean {meant!r}?" in capfd.readouterr().err


def test_a_host_without_a_scheme_is_not_taken_for_a_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert ", such as ws://localhost/" in complaint(capfd, "localhost", code=2)


def test_help_is_what_is_asked_for_with_or_without_dashes(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "\ncommands:\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-N", "-x", "a"], "--no-input"),
        (["--reconnect", "-1"], "--one-message"),
        (["-x", ""], "--send wants some text"),
        (["--json", "-x", "{"], "not JSON"),
    ],
)
def test_options_that_make_no_sense_are_explained(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert says in complaint(capfd, *arguments, "ws://127.0.0.1:1", code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "nothing"],
        ["-n", "0"],
        ["--max-size", "x"],
        ["-b", "-t"],
        ["--auth", "a:b", "--bearer", "b"],
        ["--auth", "a\n:b"],
        ["--bearer", "a b"],
        [],
    ],
)
def test_wrong_options_show_how_it_is_used(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, *(["ws://127.0.0.1"] if arguments else ["-k"])])
    assert exit_info.value.code == 2
    assert "usage: websocketstream" in capsys.readouterr().err


# --- how it ends


def test_an_end_with_an_error_code_is_said(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["-N", f"{url}/breakdown"]) == 1
    shown = capfd.readouterr()
    assert shown.out == "half an answer\n"
    assert (
        'the server closed the connection: 1011 (internal error of the server), "out of \\e[31mmemory"'
        in shown.err
    )


def test_a_message_that_is_too_large_is_said(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "--max-size" in complaint(capfd, "-N", "--max-size", "64k", f"{url}/large", code=1)
    assert len(answer(capfd, "-N", "-1", "--max-size", "64k", f"{url}/large")) == 100_000
    assert len(answer(capfd, "-N", "--max-size", "none", f"{url}/large")) == 100_000


def test_a_connection_that_is_lost_is_made_again(capfd: pytest.CaptureFixture[str]) -> None:
    visits = 0

    async def unreliable(request: object) -> None:
        nonlocal visits
        visits += 1
        async with request.accept() as conn:  # type: ignore[attr-defined]
            await conn.send(f"visit {visits}")
            conn.close(*((1012, "restarting") if visits < 2 else (1000,)))

    with serving(peer=unreliable) as served:
        assert main(["-N", "--reconnect", served]) == 0
    shown = capfd.readouterr()
    assert shown.out == "visit 1\nvisit 2\n"
    assert shown.err.startswith(
        'the server closed the connection: 1012 (it restarts), "restarting"; trying again in '
    )


# --- the program as such


def test_without_a_word_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "demo" in shown


def test_it_knows_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out.startswith("websocketstream ")


def test_every_option_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "command-line.md").read_text("utf-8")
    flags = {flag for action in connect.make_parser("x").actions for flag in action.option_strings}
    assert not {flag for flag in flags - {"-h", "--help", "--version"} if f"`{flag}" not in page}


def test_it_is_called_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/wstream"])
    assert main([]) == 0
    assert "usage: wstream" in capsys.readouterr().out


def test_a_missing_event_loop_is_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit) as exit_info:
        main(["demo", "--backend", "trio"])
    assert exit_info.value.code == 2
    assert "pip install trio" in capsys.readouterr().err


def test_ctrl_c_before_the_start_is_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line.anyio, "run", interrupt)
    assert main(["ws://127.0.0.1"]) == 130
    assert capsys.readouterr().err == "websocketstream: interrupted\n"


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command_line.anyio, "run", bug)
    with pytest.raises(ZeroDivisionError):
        main(["ws://127.0.0.1"])
