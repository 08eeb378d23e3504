"""How Sphinx builds the site (`make docs`). A build needs no network and runs no notebook."""

from __future__ import annotations

import re
import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import robustsnn

project = "robustsnn"
author = copyright = "The robustsnn developers"
version = release = robustsnn.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"robustsnn {version}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_heading_anchors = 6  # the anchors that GitHub gives to headings, so that links work in both places
nb_execution_mode = "off"  # notebooks show the outputs that they hold; `make notebooks` makes these

default_role = "py:obj"  # single backticks in a docstring name an object of the package
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
napoleon_use_rtype = False
autodoc_default_options = {"members": True, "exclude-members": "model_config, model_post_init"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True

OUTSIDE = {"CONTRIBUTING": "contributing", "SECURITY": "security", "benchmarks/experiments": "experiments"}
"""Pages outside of this folder that pages link to, and the page under ``project/`` that includes each."""


def inside(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to `OUTSIDE` lead to pages of the site."""
    for target, name in OUTSIDE.items():
        source[0] = source[0].replace(f"](../{target}.md", f"](project/{name}.md")


def literal(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Show an indented block of a docstring, such as an equation, as it is written."""
    for place in range(len(lines) - 1, 1, -1):
        if lines[place].startswith("    ") and not lines[place - 1] and lines[place - 2][:1].strip():
            lines[place:place] = ["::", ""]


def described(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Document a constant by the string below it, a table by its names too, and a field of pydantic by its description."""
    if what == "data":
        attribute = name.rpartition(".")[2]
        lines[:] = next(filter(None, (below(module, attribute, value) for module in sorted(sys.modules))), [])
        if isinstance(value, dict):
            lines += ["", "Names: " + ", ".join(f"``{key}``" for key in value) + "."]
    if what == "class":
        fields = getattr(value, "model_fields", {}).items()
        lines += ["", *(f":param {field}: {info.description}" for field, info in fields if info.description)]


def below(module: str, attribute: str, value: Any) -> list[str]:
    """The string below an attribute of a module of the package, if that module defines it."""
    if module.partition(".")[0] != "robustsnn" or vars(sys.modules[module]).get(attribute) is not value:
        return []
    return ModuleAnalyzer.for_module(module).find_attr_docs().get(("", attribute), [])


def shortened(app: Sphinx, what: str, name: str, value: Any, options: Any, arguments: str | None, result: Any) -> Any:
    """Show the types of arguments without the ranges that are checked, and computed defaults as ``...``."""
    text = re.sub(r"<factory>|<function .*?<lambda>>", "...", arguments or "")
    text = re.sub(r"Range\(text=.*?[\])]\)", "Range", text)  # a half-open range has brackets that do not match
    while (less := re.sub(r"~?(?:typing\.)?Annotated\[((?:[^][,]|\[[^][]*\])+), [^][]*\]", r"\1", text)) != text:
        text = less
    return text or None, result


def marked(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Keep a number and its interval on one line of a table: see ``_static/site.css``."""
    for entry in tree.findall(nodes.entry):
        if re.fullmatch(r"\W*[\d.]+ \([\d.]+-[\d.]+\)", entry.astext()):
            entry["classes"].append("interval")


def linked(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.reference | None:
    """Link a bare name in a docstring to the only entry of that name, whichever package has it."""
    name = node.get("reftarget", "")
    domain = env.domains.python_domain
    found = [(full, entry) for full, entry in domain.objects.items() if full.endswith(f".{name}") and not entry.aliased]
    if node.get("refdomain") != "py" or not name or len(found) != 1:
        return None
    full, entry = found[0]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, full)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", inside)
    app.connect("autodoc-process-docstring", literal, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", described)
    app.connect("autodoc-process-signature", shortened)
    app.connect("doctree-resolved", marked)
    app.connect("missing-reference", linked)
    return {"parallel_read_safe": True}
