from __future__ import annotations

from typing import TYPE_CHECKING

import namespaces
import pytest

import absences

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

NUMBER_OF_HOSTS = 2


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "netns: makes network namespaces, and skips where it must not")


@pytest.fixture
def certificates(tmp_path: Path, certificate_authority: trustme.CA) -> Path:
    """A directory with the certificates of the hosts, or skip: there are no hosts here."""
    if (reason := namespaces.why_not()) is not None:
        pytest.skip(reason)
    if "tcp-info" in absences.simulated():
        pytest.skip("TCP cannot be asked in this run")
    certificate_authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    addresses = [f"198.18.{number}.{end}" for number in range(NUMBER_OF_HOSTS) for end in (1, 2)]
    certificate = certificate_authority.issue_cert(*addresses)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    return tmp_path
