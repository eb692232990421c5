"""Codec tests run once per engine and role."""

from __future__ import annotations

from typing import Any

import pytest
from codec_kit import ENGINES, NOT_BUILT, Kit


@pytest.fixture(scope="module", params=[pytest.param(engine, id=name) for name, engine in ENGINES.items()])
def engine(request: pytest.FixtureRequest) -> Any:
    if request.param is None:
        pytest.skip(NOT_BUILT)
    return request.param


@pytest.fixture(params=[pytest.param(True, id="client"), pytest.param(False, id="server")])
def kit(request: pytest.FixtureRequest, engine: Any) -> Kit:
    return Kit(engine, request.param)
