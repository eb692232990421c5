"""The compiled engine is built where that is possible, and nothing fails where it is not."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHOW_ENGINE = """
from websocketstream._protocol.engine import ENGINE
from websocketstream._streams.hot import IS_COMPILED
print(ENGINE, "hot path" if IS_COMPILED else "alone")
"""
SHOW_ZLIB = "from websocketstream._protocol import _compiled; print(_compiled.PerMessageDeflate.__module__)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="the engine is for CPython"),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("setuptools", "Cython"))), reason="needs setuptools and Cython"
    ),
]


def run(*command: str, cwd: Path, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WEBSOCKETSTREAM_")}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env | variables, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("tree")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "*.c", "*.egg-info")
    shutil.copytree(ROOT / "src", tree / "src", ignore=ignored)
    return tree


def built_engine(tree: Path, tmp_path: Path, show: str = SHOW_ENGINE, **variables: str) -> str:
    run(
        *("setup.py", "-q", "build", f"--build-base={tmp_path / 'base'}", f"--build-lib={tmp_path / 'lib'}"),
        cwd=tree,
        **variables,
    )
    return run("-c", show, cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib"))


COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_compiler = pytest.mark.skipif(os.name != "posix" or COMPILER is None, reason="no C compiler")


@pytest.fixture
def quick_compiler(tmp_path: Path) -> str:
    """Return a compiler that optimizes nothing, whatever it is told: in a third of the time."""
    compiler = tmp_path / "quick-cc"
    compiler.write_text(f'#!/bin/sh\nexec {COMPILER} "$@" -O0\n', "utf-8")
    compiler.chmod(0o755)
    return str(compiler)


@needs_compiler
def test_with_a_compiler_the_compiled_engine_is_built_and_used(tree, tmp_path, quick_compiler):
    assert built_engine(tree, tmp_path, CC=quick_compiler) == "compiled hot path"


@needs_compiler
def test_when_the_types_of_one_module_change_all_that_know_them_are_built_anew(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "tree")
    build = ("setup.py", "-q", "build_ext", "--inplace")
    run(*build, cwd=tmp_path / "tree", CC="/bin/true")  # it makes the C sources, which is enough here
    package = tmp_path / "tree" / "src" / "websocketstream"
    types = package / "_fast" / "budget.pxd"
    text = types.read_text("utf-8")
    types.write_text(text.replace("    cdef double _began", "    cdef double _began_at_last", 1), "utf-8")
    source = package / "_streams" / "budget.py"
    source.write_text(source.read_text("utf-8").replace("_began", "_began_at_last"), "utf-8")
    run(*build, cwd=tmp_path / "tree", CC="/bin/true")
    for name in ("budget", "receive_buffer", "send_buffer", "writer", "reader"):
        assert "_began_at_last;" in (package / "_streams" / f"{name}.c").read_text("utf-8"), name


@needs_compiler
@pytest.mark.parametrize("lacking", ["header", "library"])
def test_without_zlibs_header_or_library_the_compiled_engine_uses_pythons_zlib(
    tree, tmp_path, quick_compiler, lacking
):
    variables = {"CC": quick_compiler}
    if lacking == "header":
        (tmp_path / "zlib.h").write_text("#error hidden")
        variables["CPATH"] = str(tmp_path)
    else:
        (tmp_path / "libz.so").write_text("no library")
        variables["LDFLAGS"] = f"-L{tmp_path}"
    built_in = built_engine(tree, tmp_path, SHOW_ZLIB, **variables)
    assert built_in == "websocketstream._protocol.deflate"


def built_wheel(tree: Path, tmp_path: Path, **variables: str) -> str:
    run(
        *("setup.py", "-q", "build", f"--build-base={tmp_path / 'base'}"),
        *("bdist_wheel", f"--dist-dir={tmp_path / 'dist'}", f"--bdist-dir={tmp_path / 'bdist'}"),
        cwd=tree,
        **variables,
    )
    [wheel] = (tmp_path / "dist").iterdir()
    return wheel.name


@pytest.mark.parametrize("variables", [{"CC": "/bin/false"}, {"WEBSOCKETSTREAM_BUILD_EXTENSION": "0"}])
def test_a_wheel_in_which_nothing_is_compiled_is_for_any_platform(tree, tmp_path, variables):
    name = built_wheel(tree, tmp_path, **variables)
    assert name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(tmp_path / "dist" / name) as wheel:
        inside = wheel.namelist()
    assert "websocketstream/__init__.py" in inside  # at the top, and not in a folder of data
    assert not [file for file in inside if file.endswith((".so", ".pyd"))]


@pytest.mark.skipif(os.name != "posix", reason="the compiler is a shell script")
def test_a_wheel_in_which_something_is_compiled_is_for_this_platform(tree, tmp_path):
    compiler = tmp_path / "cc"  # makes an empty file of what it was asked for, which is all that counts here
    compiler.write_text(
        '#!/bin/sh\nwhile [ "$1" ]; do [ "$1" = -o ] && : >"$2"; shift; done\nexit 0\n', "utf-8"
    )
    compiler.chmod(0o755)
    name = built_wheel(tree, tmp_path, CC=str(compiler), LDSHARED=str(compiler))
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{tag}-{tag}" in name
    assert not name.endswith("-any.whl")


@pytest.mark.parametrize("compiler", ["/bin/false", "/there/is/no/compiler"])
def test_without_a_working_compiler_the_build_succeeds_and_wsproto_is_used(tree, tmp_path, compiler):
    assert built_engine(tree, tmp_path, CC=compiler) == "wsproto alone"


def test_an_environment_variable_switches_the_build_of_the_engine_off(tree, tmp_path):
    assert built_engine(tree, tmp_path, WEBSOCKETSTREAM_BUILD_EXTENSION="0") == "wsproto alone"


def test_without_cython_the_build_succeeds_and_wsproto_is_used(tree, tmp_path):
    (tmp_path / "Cython.py").write_text('raise ImportError("hidden")')
    assert built_engine(tree, tmp_path, PYTHONPATH=str(tmp_path)) == "wsproto alone"


def test_the_page_of_the_demo_is_built_too(tree, tmp_path):
    build = ("setup.py", "-q", "build_py", f"--build-lib={tmp_path}")
    run(*build, cwd=tree, WEBSOCKETSTREAM_BUILD_EXTENSION="0")
    source, built = (where / "websocketstream" / "_browser_demo" for where in (ROOT / "src", tmp_path))
    assert {path.name for path in built.iterdir()} == {path.name for path in source.iterdir()}
