"""nginx and HAProxy in front of a server of ours, with time-outs of a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from interop.programs import Running, program, running
from ports import free_port

PATIENCE = 1  # seconds; what the proxies have for a connection on which nothing happens

NGINX = """
daemon off;
user root;
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
    ssl_certificate {directory}/proxy.pem;
    ssl_certificate_key {directory}/proxy.pem;
    upstream ours {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        send_timeout {patience}s;
        location / {{
            proxy_pass http://ours;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout {patience}s;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
    timeout tunnel {patience}s
frontend in
    bind 127.0.0.1:{port}
    bind 127.0.0.1:{tls_port} ssl crt {directory}/proxy.pem
    default_backend ours
backend ours
    {servers}
"""


@dataclass
class Proxy:
    """One that runs, and where it listens."""

    running: Running
    port: int
    tls_port: int

    def url(self, *, tls: bool = False) -> str:
        return f"wss://localhost:{self.tls_port}/echo" if tls else f"ws://localhost:{self.port}/echo"


@dataclass
class Kind:
    """A proxy that can be run: its program and its configuration."""

    name: str
    configuration: str
    arguments: list[str]
    server: str  # how it names one that is behind it
    unix: str  # and a unix socket

    @contextmanager
    def in_front_of(
        self, upstream: str | Path, authority: trustme.CA, directory: Path, *others: str | Path
    ) -> Iterator[Proxy]:
        """Run it in front of ``host:port``, of a unix socket, or of several."""
        path = program(self.name)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(directory / "proxy.pem")
        )
        ports = free_port(), free_port()
        places = [upstream, *others]
        (directory / "configuration").write_text(
            self.configuration.format(
                directory=directory,
                port=ports[0],
                tls_port=ports[1],
                servers=" ".join(self._server(number, place) for number, place in enumerate(places)),
                patience=PATIENCE,
            )
        )
        with running([path, *self.arguments, str(directory / "configuration")], directory) as process:
            process.listens(("127.0.0.1", ports[1]))
            yield Proxy(process, *ports)

    def _server(self, number: int, place: str | Path) -> str:
        address = self.unix.format(place) if isinstance(place, Path) else place
        return self.server.format(address, number=number)


KINDS = [
    Kind("nginx", NGINX, ["-c"], "server {};", "unix:{}"),
    Kind("haproxy", HAPROXY, ["-db", "-f"], "server s{number} {}\n   ", "unix@{}"),
]
