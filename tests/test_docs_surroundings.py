"""The pieces of Python in the docs that need something around them: a certificate, a proxy, a database, an end from outside."""

from __future__ import annotations

import ast
import hashlib
import re
import ssl
import sys
from pathlib import Path

import anyio
import pytest
import trustme

from edges.proxying import proxying
from edges.serving import echo, serving
from ports import free_port
from running_snippets import ENVIRONMENT, LIMIT, namespace, run_fragment
from snippets import NEED_SOMETHING, PAGES, Block, blocks
from websocketstream import open_websocket_stream

pytestmark = pytest.mark.anyio

BLOCKS = [block for page in PAGES for block in blocks(page)]


def block_with(text: str) -> Block:
    """Return the one block that has this in it."""
    assert text in NEED_SOMETHING
    (found,) = (block for block in BLOCKS if text in block.code)
    return found


def changed(block: Block, *changes: tuple[str, str]) -> Block:
    """Return a block that fits this machine."""
    code = block.code
    for before, after in changes:
        assert re.search(before, code), before
        code = re.sub(before, after, code)
    return Block(code, block.line, block.output)


async def test_a_loop_that_would_stand_still_with_many_messages() -> None:
    async with serving() as listener, open_websocket_stream(listener.url) as conn:
        values = namespace(conn=conn, outgoing=["one", "two"])
        await run_fragment(block_with("for message in outgoing"), listener.url, values)
        assert values["answers"] == ["one", "two"]


async def test_batches_into_a_database() -> None:
    saved: list[str] = []

    class Database:
        async def executemany(self, statement: str, rows: list[str]) -> None:
            saved.extend(rows)

    async with serving() as listener, open_websocket_stream(listener.url) as conn:
        for number in range(10):
            await conn.send(str(number))
        values = namespace(conn=conn, database=Database(), INSERT="insert")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_fragment, block_with("readable.batches()"), listener.url, values)
            with anyio.fail_after(LIMIT):
                while len(saved) < 10:
                    await anyio.sleep(0)
            tasks.cancel_scope.cancel()
    assert saved == [str(number) for number in range(10)]


async def test_a_limit_for_the_whole_block() -> None:
    async with serving() as listener:
        block = changed(block_with("move_on_after(60)"), (r"move_on_after\(60\)", "move_on_after(0.1)"))
        with anyio.fail_after(LIMIT):
            await run_fragment(block, listener.url)


async def test_a_fixture_that_owns_a_connection(tmp_path: Path) -> None:
    code = block_with("@pytest.fixture").code
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    async with serving() as listener:
        (tmp_path / "test_mine.py").write_text(
            "from websocketstream import open_websocket_stream\n"
            f"{code.replace('wss://example.com', listener.url)}\n\n"
            "@pytest.mark.anyio\nasync def test_it(conn):\n"
            "    await conn.send('hello')\n    assert await conn.receive() == 'hello'\n",
            "utf-8",
        )
        with anyio.fail_after(LIMIT):
            done = await anyio.run_process(command, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stdout.decode()


async def test_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as listener, proxying("socks5") as socks, proxying("http") as http:
        given = block_with('proxy="socks5://')
        await run_fragment(changed(given, ("socks5://ann:secret@127.0.0.1:1080", socks.url)), listener.url)
        assert socks.heard[-1] == b"127.0.0.1"
        monkeypatch.setenv("ws_proxy", http.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        await run_fragment(block_with("proxy=True"), listener.url)
        assert http.heard


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.LeafCert:
    """The files that the page names, in the current directory; return the server's certificate."""
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    authority.cert_pem.write_to_path("our-authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "our-authority.pem"))  # what the system trusts
    server, client = authority.issue_cert("localhost"), authority.issue_cert("ann@localhost")
    for name, certificate in (("server", server), ("client", client)):
        certificate.private_key_pem.write_to_path(f"{name}.key")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(f"{name}.pem", append=True)
    return server


async def test_tls_with_an_authority_of_ones_own_a_certificate_of_ones_own_and_one_that_is_pinned(
    files: trustme.LeafCert,
) -> None:
    asking = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="our-authority.pem")
    asking.load_cert_chain("server.pem", "server.key")
    der = ssl.PEM_cert_to_DER_cert(files.cert_chain_pems[0].bytes().decode())
    pinned = changed(
        block_with("fingerprint=pin"), ('"[0-9A-F:]{95}"', f'"{hashlib.sha256(der).hexdigest()}"')
    )
    context = ssl.create_default_context()
    pinned = changed(pinned, ("fingerprint=pin", "fingerprint=pin, ssl_context=context"))
    async with serving(ssl_context=asking) as listener:
        url = f"wss://localhost:{listener.port}"
        await run_fragment(block_with('cafile="our-authority.pem"'), url)
        await run_fragment(pinned, url, namespace(context=context))
    asking.verify_mode = ssl.CERT_REQUIRED
    async with serving(ssl_context=asking) as listener:
        await run_fragment(block_with('"client.pem"'), f"wss://localhost:{listener.port}")


async def is_listened_on(port: int) -> bool:
    try:
        await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
    except OSError:
        return False
    return True


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("text", ['"server.pem"', "trusted_proxies=proxies)", "proxy_protocol=True"])
async def test_servers(text: str) -> None:
    """They serve until they are cancelled."""
    port = free_port()
    block = changed(block_with(text), (r'"[\d.]+", \d+', f'"127.0.0.1", {port}'))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_fragment, block, "", namespace(handler=echo))
        with anyio.fail_after(LIMIT):
            while not await is_listened_on(port):
                await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()


def test_nothing_is_left_out() -> None:
    """What is not run by test_docs.py is run here, as long as it is there."""
    tree = ast.parse(Path(__file__).read_text("utf-8"))
    named_here = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(NEED_SOMETHING) - named_here == set()
    assert [block.line for block in BLOCKS if sum(text in block.code for text in NEED_SOMETHING) > 1] == []
