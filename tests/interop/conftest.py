from __future__ import annotations

import pytest

from interop.programs import Contract


@pytest.fixture
def contract() -> Contract:
    return Contract()
