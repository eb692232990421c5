"""Close codes and reasons: what an application may say, and what a peer may."""

from __future__ import annotations

from typing import Any

import pytest

from websocketstream import CloseCode, CloseInfo, ConnectionBroken, ConnectionClosed
from websocketstream._protocol.close import check_close, is_valid_on_the_wire, truncate_reason

CLIENT_CODES = {1000, *range(3000, 5000)}
SERVER_CODES = CLIENT_CODES | {1001, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014}
WIRE_CODES = SERVER_CODES | {1002, 1010}
EVERY_CODE = [*range(5100), 65535, 65536, 70000, -1]


@pytest.mark.parametrize(("server", "allowed"), [(False, CLIENT_CODES), (True, SERVER_CODES)])
def test_an_application_may_send_the_codes_that_are_its_own(server: bool, allowed: set[int]) -> None:
    for code in EVERY_CODE:
        if code in allowed:
            assert check_close(code, "", server=server) == (code, "")
        else:
            with pytest.raises(ValueError, match=f"close code {code} "):
                check_close(code, "", server=server)


def test_a_peer_may_send_registered_codes_and_those_of_applications() -> None:
    assert {code for code in EVERY_CODE if is_valid_on_the_wire(code)} == WIRE_CODES


@pytest.mark.parametrize("code", [True, 1000.0, "1000", b"1000", float("nan")])
def test_a_code_that_is_no_int_is_a_type_error(code: object) -> None:
    with pytest.raises(TypeError, match="close code must be an int"):
        check_close(code, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", [b"bytes", None, 1])
def test_a_reason_that_is_no_str_is_a_type_error(reason: object) -> None:
    with pytest.raises(TypeError, match="close reason must be a str"):
        check_close(1000, reason)  # type: ignore[arg-type]


def test_a_reason_may_have_123_bytes_of_utf_8_and_no_more() -> None:
    assert check_close(1000, "x" * 123) == (1000, "x" * 123)
    with pytest.raises(ValueError, match="124 bytes"):
        check_close(1000, "x" * 124)
    with pytest.raises(ValueError, match="128 bytes"):
        check_close(1000, "\U0001f50c" * 32)


def test_the_code_is_checked_before_the_reason() -> None:
    with pytest.raises(ValueError, match="close code 999"):
        check_close(999, "x" * 124)


def test_a_reason_without_a_code_makes_the_code_1000() -> None:
    assert check_close(None, "pizza") == (1000, "pizza")
    assert check_close(None, "") == (None, "")


def test_a_lone_surrogate_in_a_reason_becomes_a_replacement_character() -> None:
    assert check_close(1000, "\ud807!") == (1000, "\ufffd!")
    assert check_close(1000, "\ud83d\udd0c") == (1000, "\U0001f50c")


def test_a_reason_of_ours_is_cut_on_a_character() -> None:
    assert truncate_reason("short") == "short"
    assert truncate_reason("x" * 122 + "é") == "x" * 122
    assert truncate_reason("x" * 121 + "é") == "x" * 121 + "é"


def test_close_codes_compare_as_ints_and_close_infos_as_values() -> None:
    assert CloseCode.GOING_AWAY == 1001
    assert CloseInfo(1001) == CloseInfo(CloseCode.GOING_AWAY, "", True)


@pytest.mark.parametrize("code", [1000, 1001, 1005])
def test_what_ended_well_is_no_error(code: int) -> None:
    CloseInfo(code).raise_for_code()


@pytest.mark.parametrize("code", [1002, 1008, 1011, 1012, 3000, 4999])
def test_a_code_that_says_that_something_went_wrong_is_an_error(code: int) -> None:
    with pytest.raises(ConnectionClosed) as caught:
        CloseInfo(code, "sorry").raise_for_code()
    assert (caught.value.close_code, caught.value.reason) == (code, "sorry")


@pytest.mark.parametrize("code", [1000, 1006, 1011])
def test_an_unclean_end_is_an_error_whatever_was_said(code: int) -> None:
    with pytest.raises(ConnectionBroken) as caught:
        CloseInfo(code, "", False).raise_for_code(ok=[code])
    assert caught.value.close_code == code


def test_who_knows_better_says_which_codes_are_none() -> None:
    CloseInfo(4001).raise_for_code(ok={4001})
    CloseInfo(CloseCode.SERVICE_RESTART).raise_for_code(ok=[CloseCode.SERVICE_RESTART])
    with pytest.raises(ConnectionClosed):
        CloseInfo(1000).raise_for_code(ok=())


@pytest.mark.parametrize("ok", [1000, None, "1000", b"1000", ["1000"], [1000.5]])
def test_codes_that_are_none_are_refused(ok: Any) -> None:
    with pytest.raises(TypeError, match="ok must be a collection of close codes"):
        CloseInfo(1000).raise_for_code(ok=ok)
