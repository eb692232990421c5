"""Which engine is used, and how to choose another one."""

from __future__ import annotations

import sys
import types

import pytest

from websocketstream._protocol import engine
from websocketstream._protocol.codec import CodecLimits
from websocketstream._protocol.engine import choose_engine, make_codec
from websocketstream._protocol.wsproto_codec import WsprotoCodec

COMPILED = "websocketstream._protocol._compiled"


@pytest.fixture
def built(monkeypatch):
    module = types.ModuleType(COMPILED)
    module.CompiledCodec = object()
    monkeypatch.setitem(sys.modules, COMPILED, module)
    return module


@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setitem(sys.modules, COMPILED, None)


@pytest.mark.parametrize("wanted", [None, "", "compiled"])
def test_the_compiled_engine_is_used_where_it_was_built(built, wanted):
    assert choose_engine(wanted) == ("compiled", built.CompiledCodec)


def test_wsproto_may_be_asked_for(built):
    assert choose_engine("wsproto") == ("wsproto", WsprotoCodec)


@pytest.mark.parametrize("wanted", [None, "", "wsproto"])
def test_without_the_compiled_engine_wsproto_is_used(not_built, wanted):
    assert choose_engine(wanted) == ("wsproto", WsprotoCodec)


def test_asking_for_a_compiled_engine_that_is_not_there_says_what_to_do(not_built):
    with pytest.raises(ImportError, match=r"WEBSOCKETSTREAM_ENGINE asks for the compiled engine.*Cython"):
        choose_engine("compiled")


@pytest.mark.parametrize("wanted", ["fast", "Compiled", "wsproto ", "0"])
def test_an_engine_that_does_not_exist_is_refused_with_the_names_of_those_that_do(wanted):
    with pytest.raises(ValueError, match="must be compiled or wsproto, not '"):
        choose_engine(wanted)


def test_the_name_of_the_engine_is_the_name_of_the_one_in_use():
    codec = make_codec(client=True, limits=CodecLimits())
    assert type(codec) is choose_engine(engine.ENGINE)[1]
