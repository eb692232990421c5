"""The part of the build that pyproject.toml cannot describe: the compiled engine, without which everything works too.

It is left out when there is no Cython, no working C compiler, no CPython, or ``WEBSOCKETSTREAM_BUILD_EXTENSION=0``.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

# The hot path is modules in Python, which Cython compiles with the types that stand in the .pxd files of _fast.
HOT = {
    "calls": "_network",
    "readiness": "_network",
    "wakeups": "_network",
    "system_calls": "_network",
    "tls_calls": "_network",
    "tls_records": "_network",
    "life": "_protocol",
    "budget": "_streams",
    "receive_buffer": "_streams",
    "send_buffer": "_streams",
    "writer": "_streams",
    "reader": "_streams",
    "ends": "_streams",
}
# Modules, with their source, the files that they depend on beside it, and the libraries that they are linked with. Each is
# left out by itself when it cannot be built.
MODULES = {
    "_protocol._compiled": (
        "_protocol/_compiled.pyx",
        ["_protocol/_compiled.h", "_protocol/_zlib.h", "_protocol/_zlib.pxd"],
        [],
    ),
    "_network._openssl": ("_network/_openssl.pyx", ["_network/_openssl.h"], ["dl"]),
    "_network._sockets": ("_network/_sockets.pyx", ["_network/_sockets.h"], []),
    "_protocol._zlib": ("_protocol/_zlib.pyx", ["_protocol/_zlib.h", "_protocol/_zlib.pxd"], ["z"]),
    **{
        f"_fast.{name}": (f"{room}/{name}.py", [f"_fast/{types}.pxd" for types in HOT], [])
        for name, room in HOT.items()
    },
}


def is_stale(source: Path, types: list[Path]) -> bool:
    """Tell whether what Cython made of a module is older than the C types."""
    made = source.with_suffix(".c")
    return made.exists() and made.stat().st_mtime < max(file.stat().st_mtime for file in types)


def extensions() -> list[Extension]:
    """Return what to compile, if anything."""
    if os.environ.get("WEBSOCKETSTREAM_BUILD_EXTENSION") == "0" or sys.implementation.name != "cpython":
        return []
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []  # a codec belongs to one thread at a time, and in C nothing but the GIL enforces that
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    sources = [
        Extension(
            f"websocketstream.{name}",
            [f"src/websocketstream/{source}"],
            depends=[f"src/websocketstream/{file}" for file in files],
            libraries=libraries,
            extra_compile_args=[] if os.name == "nt" else ["-O3", "-g0"],  # whatever Python was built with
        )
        for name, (source, files, libraries) in MODULES.items()
    ]
    package = Path("src/websocketstream")
    types = [package / f"_fast/{name}.pxd" for name in HOT]
    compiled: list[Extension] = cythonize(
        sources,
        # Annotations are for type checkers: `int` would be a Python object, and `float` refuse an int.
        compiler_directives={"annotation_typing": False},
        # Cython does not look for a module's types in another folder when it asks what has changed. Modules that were made of
        # different types write into each other's objects at the wrong places.
        force=any(is_stale(package / room / f"{name}.py", types) for name, room in HOT.items()),
    )
    for item in compiled:
        item.optional = True  # a failing compiler only makes a warning; Cython does not hand this on
    return compiled


class Wheel(bdist_wheel):
    """A wheel for this platform only if something in it is: every extension may have been left out."""

    def run(self) -> None:
        """Build, and look at what came of it before the wheel gets its name."""
        if not self.skip_build:
            self.run_command("build")
        builder = self.get_finalized_command("build_ext")
        made = [builder.get_ext_fullpath(item.name) for item in self.distribution.ext_modules or []]
        if not any(map(os.path.exists, made)):
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()


setup(ext_modules=extensions(), cmdclass={"bdist_wheel": Wheel})
