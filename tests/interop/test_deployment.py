"""What the pages on deployment show is accepted by the programs that it is for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
import trustme

from edges.serving import echo, serving
from interop.programs import program, running
from ports import free_port
from waiting import until
from websocketstream import HandshakeRejected, WebSocketRequest, open_websocket_stream

DOCS = Path(__file__).parent.parent.parent / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT = 20  # seconds


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    found = BLOCK.findall((DOCS / page).read_text("utf-8"))
    return [code for each, code in found if each == language]


def accepts(*command: str | Path) -> str:
    """Run a checker, which has to be content, and return what it says."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def certificate(tmp_path: Path, certificate_authority: trustme.CA) -> Path:
    path = tmp_path / "proxy.pem"
    certificate_authority.issue_cert("example.com").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


NGINX = """
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    {code}
}}
"""
# Some are a part of a server, or of what an upstream is.
PARTS = {"location": "server {{ {code} }}", "upstream": "{code}"}


@pytest.mark.parametrize("page", ["deployment.md", "behind-a-proxy.md", "many-processes.md"])
def test_nginx_accepts_the_configuration(page: str, tmp_path: Path, certificate: Path) -> None:
    nginx = program("nginx")
    found = blocks(page, "nginx")
    assert found
    for code in found:
        inside = PARTS[code.split()[0]].format(code=code)
        inside = re.sub(r"/etc/ssl/example\.com\.\w+", str(certificate), inside)
        inside = inside.replace("listen 443", "listen 127.0.0.1:8443")
        file = tmp_path / "nginx.conf"
        file.write_text(NGINX.format(directory=tmp_path, code=inside), "utf-8")
        accepts(nginx, "-t", "-q", "-c", file)


def test_haproxy_accepts_the_configuration(tmp_path: Path, certificate: Path) -> None:
    haproxy = program("haproxy")
    (front,) = (code for code in blocks("behind-a-proxy.md", "text") if "frontend" in code)
    (check,) = (code for code in blocks("deployment.md", "text") if "http-check" in code)
    front = front.replace("/etc/haproxy/example.com.pem", str(certificate))
    file = tmp_path / "haproxy.cfg"
    file.write_text(front, "utf-8")
    accepts(haproxy, "-c", "-q", "-f", file)
    file.write_text(front.partition("\nbackend feed")[0] + "\n" + check, "utf-8")
    accepts(haproxy, "-c", "-q", "-f", file)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    systemd_analyze = program("systemd-analyze")
    (unit,) = blocks("deployment.md", "ini")
    # What it starts has to exist.
    unit = unit.replace("/srv/feed/.venv/bin/python", sys.executable).replace("/srv/feed", str(tmp_path))
    file = tmp_path / "feed@1.service"
    file.write_text(unit, "utf-8")
    said = accepts(systemd_analyze, "verify", "--man=no", file)
    assert str(file) not in said  # what it does not know, it passes over with a warning


def test_the_container_starts_the_program_of_the_page_and_no_shell() -> None:
    # No builder is asked: it would fetch an image.
    (file,) = blocks("deployment.md", "dockerfile")
    instructions = dict(line.split(maxsplit=1) for line in file.splitlines() if line)
    assert instructions["CMD"] == '["python", "feed_server.py"]'
    assert instructions["COPY"].split()[0] == "feed_server.py"
    assert instructions["EXPOSE"] == "8767"


HEALTH = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    timeout tunnel 5s
frontend public
    bind 127.0.0.1:{port}
    default_backend feed
"""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # HAProxy does not know which it is
@pytest.mark.parametrize("well", [True, False])
async def test_haproxy_sees_by_a_handshake_whether_a_server_is_well(well: bool, tmp_path: Path) -> None:
    haproxy = program("haproxy")
    (check,) = (code for code in blocks("deployment.md", "text") if "http-check" in code)
    asked = 0

    async def handle(request: WebSocketRequest) -> None:
        nonlocal asked
        if request.path == "/health":
            asked += 1
            if not well:
                await request.reject(503)
                return
        await echo(request)

    port = free_port()
    async with serving(handle) as listener:
        check = check.replace("127.0.0.1:8767 check", f"127.0.0.1:{listener.port} check inter 50ms")
        file = tmp_path / "haproxy.cfg"
        file.write_text(HEALTH.format(port=port) + check, "utf-8")
        with running([haproxy, "-db", "-f", file], tmp_path) as process, anyio.fail_after(LIMIT):
            process.listens(("127.0.0.1", port))
            await until(lambda: asked >= 6)  # three are enough to give a server up
            url = f"ws://127.0.0.1:{port}/feed"
            if well:
                async with open_websocket_stream(url) as conn:
                    await conn.send("hello")
                    assert await conn.receive() == "hello"
            else:
                with pytest.raises(HandshakeRejected, match="503"):
                    async with open_websocket_stream(url):
                        pytest.fail("it was opened")
