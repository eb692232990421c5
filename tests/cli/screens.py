"""The program in a pseudo-terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Self

from cli.cli_kit import LIMIT, command, environment

if sys.platform != "win32":
    import pty
    import termios


class Screen:
    """The program in a terminal."""

    def __init__(self, *arguments: str, home: Path, missing: str = "", **changes: str) -> None:
        self.master, slave = pty.openpty()
        self.modes = termios.tcgetattr(slave)
        run = command(*arguments)
        if missing:
            run = [sys.executable, "-W", "error", "-c", NOT_THERE.format(missing=missing), *arguments]
        self.process = subprocess.Popen(
            run,
            env=environment(XDG_STATE_HOME=str(home), TERM="xterm", **changes),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = b""

    def until(self, text: str) -> None:
        """Read until something is shown behind what was waited for before."""
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.master], [], [], LIMIT)
            assert ready, self.shown
            try:
                data = os.read(self.master, 65536)
            except OSError:  # Linux: the program has closed its end
                data = b""
            assert data, self.shown
            self.shown += data
        self.shown = self.shown.partition(text.encode())[2]

    def until_prompt(self) -> None:
        """Wait until the prompt is drawn below what was shown: before that, keys such as Ctrl-C are the terminal's."""
        self.until("\x1b[?25h")  # show the cursor

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def code(self) -> int:
        """Read to the end, and return the exit code."""
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.shown += data
        return self.process.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


NOT_THERE = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {missing!r} else find(name, *more)
from websocketstream.__main__ import main
sys.exit(main())
"""
