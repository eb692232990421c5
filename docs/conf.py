"""Sphinx configuration. The build needs no network: what we link to outside is listed in _inventories/."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

os.environ["WEBSOCKETSTREAM_ENGINE"] = "wsproto"  # what is in C shows no signatures
import inventories  # noqa: E402  # found by the lines above
from docutils import nodes  # noqa: E402
from sphinx.addnodes import pending_xref  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.environment import BuildEnvironment  # noqa: E402
from sphinx.pycode import ModuleAnalyzer  # noqa: E402

import websocketstream  # noqa: E402

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]
project = "websocketstream"
REPOSITORY = PROJECT["urls"]["Source"]
author = "The websocketstream authors"
copyright = "2026, the websocketstream authors"
release = version = PROJECT["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "closing_table",
    "examples_page",
    "signatures",
    "speed_chart",
]
exclude_patterns = ["_build", "_inventories", "_ext", "_static"]
nitpicky = True
smartquotes_action = "D"  # dashes; but a str in the text, such as "", is written as in a program
nitpick_ignore = [
    # Aliases of plain types, written out in the text of the reference.
    ("py:class", "Message"),
    ("py:class", "HeadersLike"),
    ("py:class", "Handler"),
    # anyio documents these as data, and autodoc asks for a class.
    ("py:class", "AnyByteStream"),
    # Inherited from anyio.TypedAttributeProvider.
    ("py:meth", "extra"),
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90

# A new directory for every build: inventories are made from text that can be reviewed.
_inventory_directory = Path(tempfile.mkdtemp(prefix="inventories-"))
intersphinx_mapping = {
    name: (url, str(inventories.write(HERE / "_inventories" / f"{name}.txt", _inventory_directory)))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "anyio": "https://anyio.readthedocs.io/en/stable/",
    }.items()
}

html_theme = "furo"
html_title = f"websocketstream {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_show_sourcelink = False
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "docs/"}


def resolve_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link a name to where users import it from, wherever it is defined."""
    name = node["reftarget"].rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in websocketstream.__all__:
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"websocketstream.{name}", node, content
    )


def hide_private_bases(_app: Sphinx, _name: str, _class: type, _options: object, bases: list[type]) -> None:
    """Show as bases only what users can name."""
    bases[:] = [base for base in bases if not getattr(base, "__module__", "").startswith("websocketstream._")]


def find_sources() -> None:
    """Let autodoc know the order of members: public names claim to be the package's, their source is in its modules."""
    package = ModuleAnalyzer.for_module("websocketstream")
    package.analyze()
    for name in sorted(name for name in sys.modules if name.startswith("websocketstream._")):
        module = ModuleAnalyzer.for_module(name)
        module.analyze()
        package.tagorder.update(module.tagorder)
        package.attr_docs.update(module.attr_docs)
        package.annotations.update(module.annotations)


def setup(app: Sphinx) -> None:
    """Let Sphinx ask us for what it does not find, and for what to show of a class's bases."""
    find_sources()
    app.connect("missing-reference", resolve_public_name)
    app.connect("autodoc-process-bases", hide_private_bases)
