"""What mkdocs does not do by itself.

README.md is the first page; each part of the library has a page of reference, made from its types
and docstrings; and a page that nav does not name has a place, too.
"""

from __future__ import annotations

import ast
import os
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools import parts
from tools.docs.merged import documented, write
from tools.paths import ROOT

# What stands in the dormouse folder itself, in the order in which one meets it.
ORDER = ("client", "session", "router", "expiry", "reason", "packet", "stream")
# What the reference is made from, where mkdocs.yml says; before its plugins look there.
write(ROOT / "build" / "reference")

LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def reference(part: str) -> str:
    """Return the page of a part."""
    package = f"dormouse.{part}" if part else "dormouse"
    text = ast.get_docstring(ast.parse(parts.source(f"{part}/__init__".lstrip("/")).read_text()))
    lines = [f"# {package}", "", text or "", ""]
    names = [n for n in parts.modules()[part] if n in documented()]
    if not part:
        names = sorted(names, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))
    for name in names:
        module = package if name.endswith("__init__") else f"dormouse.{name.replace('/', '.')}"
        if not name.endswith("__init__"):
            lines += [f"## {module}", "", f"::: {module}", ""]
        elif public(name):
            lines += [f"::: {module}", "    options:", "      show_root_toc_entry: false"]
            lines += ["      show_docstring_description: false", ""]
    return "\n".join(lines)


def public(name: str) -> bool:
    """Return whether a module has classes or functions of its own for users."""
    tree = ast.parse(parts.source(name).read_text())
    return any(
        isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name[0] != "_"
        for node in tree.body
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=readme))
    named = re.findall(r"[\w/-]+\.md", str(config.nav))
    more = [f.src_uri for f in files.documentation_pages() if f.src_uri not in named]
    if config.nav and more:
        config.nav.append({"More": sorted(more)})
    for part in parts.modules():
        name = f"reference/{part or 'dormouse'}.md"
        files.append(File.generated(config, name, content=reference(part)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files that are not on the site be their names: they are in the repository."""
    folder = os.path.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        text, target, _ = found.groups()
        uri = os.path.normpath(os.path.join(folder, target))
        if uri == "../README.md":
            return f"[{text}](index.md)"
        if files.get_file_from_path(uri) or target.startswith("reference/"):
            return found[0]
        path = os.path.normpath(os.path.join("docs", uri))
        if page.file.src_uri == "index.md":
            path = uri
        if (ROOT / path).exists() and not path.startswith("docs/"):
            return f"{text} (`{path}`)" if text.strip("`") != path else text
        return found[0]  # leads nowhere: mkdocs says so

    return LINK.sub(link, markdown)
