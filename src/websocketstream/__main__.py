"""The entry of the command line: ``python -m websocketstream``, installed as ``websocketstream`` and ``wstream``."""

from __future__ import annotations

import sys

from ._cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
