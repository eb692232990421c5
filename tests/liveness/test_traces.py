"""The decision over a host, replayed with what TCP really said."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import traces
from traces import Sample, info_at

from websocketstream._network.tcp import read_tcp_info
from websocketstream._protocol.keepalive import TcpReport, patience_left


def report_at(trace: list[Sample], at: float) -> TcpReport:
    report = read_tcp_info(info_at(trace, at))
    assert report is not None
    return report


def found_gone(trace: list[Sample], interval: float, timeout: float, *, pinged: float) -> float | None:
    """Ask as a connection does whose ping was written then and stays without an answer; say when it gives up."""
    at = pinged + timeout
    while at < trace[-1].at + 1:
        wait = patience_left(report_at(trace, at), interval, timeout)
        if wait == 0:
            return at
        at += wait
    return None


# Pings written at many moments, so that questions fall on every phase of TCP's own.
PHASES = [step * 0.1 for step in range(200)]


@pytest.mark.parametrize(
    "trace",
    [
        pytest.param(traces.READS_SLOWLY, id="reads slowly"),
        pytest.param(traces.DOES_NOT_READ, id="does not read"),
        pytest.param(traces.DOES_NOT_READ_DEFAULT, id="does not read, older kernel"),
        pytest.param(traces.LOST_PROBE_DEFAULT, id="lost probe, older kernel"),
    ],
)
@pytest.mark.parametrize(("interval", "timeout"), [(20, 20), (10, 10), (1, 2), (0.5, 0.5)])
def test_a_live_host_is_never_given_up(trace: list[Sample], interval: float, timeout: float) -> None:
    assert {found_gone(trace, interval, timeout, pinged=pinged) for pinged in PHASES} == {None}


def test_a_live_host_seems_not_to_answer_now_and_then() -> None:
    """Why one unanswered probe is no proof: a live Linux host does not answer the second of two within half a second."""
    unanswered = [
        after.at - before.at
        for before, after in itertools.pairwise(traces.DOES_NOT_READ)
        if before.probes and not before.retransmits
    ]
    assert max(unanswered) > 0.5
    assert not any(report_at(traces.DOES_NOT_READ, sample.at).unanswered for sample in traces.DOES_NOT_READ)


def test_one_lost_packet_is_not_the_end() -> None:
    assert patience_left(report_at(traces.LOST_PACKET, 20.2), 20, 20) > 0
    assert patience_left(report_at(traces.LOST_PACKET, 20.3), 20, 20) > 0


@dataclass(frozen=True)
class Vanished:
    trace: list[Sample]
    at: float
    interval: float
    timeout: float


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Vanished(traces.CLOSED_VANISHED, 12.01, 20, 20), id="closed window"),
        pytest.param(Vanished(traces.CLOSED_LINK_DOWN, 12.01, 20, 20), id="closed window, own link down"),
        pytest.param(Vanished(traces.FLOWING_VANISHED, 3.0, 20, 20), id="transfer"),
        pytest.param(Vanished(traces.FLOWING_LINK_DOWN, 3.01, 20, 20), id="transfer, own link down"),
        pytest.param(
            Vanished(traces.CLOSED_VANISHED_FAST, 8.02, 1, 2), id="closed window, one second and two"
        ),
        pytest.param(
            Vanished(traces.CLOSED_VANISHED_FAST, 8.02, 4, 4), id="closed window, twice four seconds"
        ),
    ],
)
def test_a_vanished_host_is_found_in_interval_and_timeout(case: Vanished) -> None:
    assert case.trace[-1].at > case.at + case.interval + case.timeout
    for phase in PHASES:
        pinged = case.at - case.timeout - case.interval + phase * (case.interval + case.timeout) / 20
        if pinged < 0:
            continue
        found = found_gone(case.trace, case.interval, case.timeout, pinged=pinged)
        assert found is not None
        # Not before: the last sign of life came up to one round of TCP's questions before the host vanished.
        rounds = (case.interval + case.timeout) / 8
        latest = max(case.at + case.interval + case.timeout, pinged + case.timeout) + 0.02
        assert case.at + case.interval + case.timeout - max(rounds, 1) - 0.5 < found <= latest


@pytest.mark.parametrize("trace", [traces.QUIET_VANISHED, traces.QUIET_LINK_DOWN])
def test_a_host_that_vanished_on_a_quiet_connection_is_found_at_the_end_of_the_timeout(
    trace: list[Sample],
) -> None:
    assert found_gone(trace, 20, 20, pinged=20.01) == 20.01 + 20
    assert found_gone(trace, 19, 2, pinged=20.01) == 20.01 + 2


def test_an_older_kernel_finds_a_vanished_host_with_its_second_unanswered_probe() -> None:
    found = {found_gone(traces.CLOSED_VANISHED_DEFAULT, 20, 20, pinged=pinged) for pinged in PHASES}
    assert None not in found
    assert max(moment for moment in found if moment) < 12.01 + 40
    # With less patience than there is between two probes, the second one decides.
    found = {found_gone(traces.CLOSED_VANISHED_DEFAULT, 1, 2, pinged=5 + pinged) for pinged in PHASES}
    assert all(moment and 27.52 <= moment < 28.6 for moment in found)
