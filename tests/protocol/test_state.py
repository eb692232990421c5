"""The closing state table, enumerated."""

from __future__ import annotations

from itertools import product

import pytest

from websocketstream._protocol.state import ENDED, TRANSITIONS, Happening, State, advance


def run(*happenings: Happening) -> State:
    state = State.OPEN
    for happening in happenings:
        state = advance(state, happening)
    return state


@pytest.mark.parametrize("state", sorted(ENDED, key=str))
@pytest.mark.parametrize("happening", Happening)
def test_nothing_leads_out_of_an_ended_state(state: State, happening: Happening) -> None:
    assert advance(state, happening) is state


def test_every_state_is_reachable() -> None:
    assert {State.OPEN, *TRANSITIONS.values()} == set(State)


def test_the_transport_can_end_in_every_state_that_has_not_ended() -> None:
    for state in set(State) - set(ENDED):
        assert advance(state, Happening.END) in ENDED
        assert advance(advance(state, Happening.FAIL), Happening.END) in ENDED


def test_a_close_is_clean_exactly_when_both_close_frames_were_exchanged() -> None:
    """Every sequence of up to five happenings: CLOSED needs our Close and the peer's before the end."""
    for sequence in product(Happening, repeat=5):
        if run(*sequence) is not State.CLOSED:
            continue
        end = min(sequence.index(each) for each in (Happening.END, Happening.FAIL) if each in sequence)
        assert Happening.PEER_CLOSE in sequence[:end]
        assert Happening.CLOSE_WRITTEN in sequence[:end]


def test_a_second_close_changes_nothing() -> None:
    assert run(Happening.CLOSE, Happening.CLOSE) is run(Happening.CLOSE) is State.CLOSING


def test_closing_after_the_peers_close_waits_for_our_answer() -> None:
    assert run(Happening.PEER_CLOSE, Happening.CLOSE) is State.CLOSE_RECEIVED


def test_a_second_close_frame_of_the_peer_changes_nothing() -> None:
    assert run(Happening.PEER_CLOSE, Happening.PEER_CLOSE) is State.CLOSE_RECEIVED
