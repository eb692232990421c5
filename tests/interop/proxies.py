"""nginx and HAProxy in front of a server of ours, with time-outs of a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from interop.programs import Running, free_port, program, running

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
    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        send_timeout {patience}s;
        location / {{
            proxy_pass http://{upstream};
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
    server ours {upstream}
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
    unix: str  # how it names a unix socket

    @contextmanager
    def in_front_of(self, upstream: str | Path, authority: trustme.CA, directory: Path) -> Iterator[Proxy]:
        """Run it in front of ``host:port``, or of a unix socket."""
        path = program(self.name)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            str(directory / "proxy.pem")
        )
        ports = free_port(), free_port()
        (directory / "configuration").write_text(
            self.configuration.format(
                directory=directory,
                port=ports[0],
                tls_port=ports[1],
                upstream=self.unix.format(upstream) if isinstance(upstream, Path) else upstream,
                patience=PATIENCE,
            )
        )
        with running([path, *self.arguments, str(directory / "configuration")], directory) as process:
            process.listens(("127.0.0.1", ports[1]))
            yield Proxy(process, *ports)


KINDS = [
    Kind("nginx", NGINX, ["-c"], "unix:{}"),
    Kind("haproxy", HAPROXY, ["-db", "-f"], "unix@{}"),
]
