"""The site of `make docs`: its reference is complete, its links lead somewhere."""

import ast
import importlib.util
import re
import socket
from pathlib import Path

import pytest

from tools.docs import __main__ as docs
from tools.docs.merged import documented, merge, undocumented
from tools.testing.runtimes import ROOT

PYTHONS = ("asyncio", "io", "ssl")  # modules that are not the library's

CONFIG = (ROOT / "tools" / "docs" / "mkdocs.yml").read_text()


def test_all_that_is_public_is_told_of() -> None:
    assert undocumented() == [], "write a docstring, or say in tools/docs/merged.py whose it has"


def test_merged() -> None:
    """Signatures of the one, words of the other; what lacks words is found."""
    stub = '"""Types."""\nclass A:\n    n: int\n    def f(self, a: int) -> str: ...\n'
    stub += "    def g(self) -> None: ...\n    def _h(self) -> None: ...\n"
    code = 'def make():\n    class A:\n        """Words."""\n        def f(self, *a):\n'
    code += '            """More."""\n    return A\n'
    text, missing = merge(stub, '"""All."""\n' + code, "m")
    assert missing == ["m:A.g"]
    assert '"""All."""' in text and "Types" not in text
    assert re.search(r'def f\(self, a: int\) -> str:\s+"""More."""', text)


def test_each_part_has_its_page() -> None:
    named = set(re.findall(r"reference/(\w+)\.md", CONFIG))
    assert named == {name.rpartition("/")[0] or "dormouse" for name in documented()}


def test_pages_in_order_are_there() -> None:
    for name in re.findall(r"^\s+- ([\w-]+\.md)$", CONFIG, re.M):
        assert name == "index.md" or (ROOT / "docs" / name).exists(), name


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in found}


def test_links_of_the_pages_lead_somewhere() -> None:
    """In the repository, where most read them; and each page is led to from README, by some way."""
    link = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "boards").rglob("*.md")]
    leads: dict[Path, set[Path]] = {}
    for page in pages:
        for target, anchor in link.findall(page.read_text()):
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in headings(path), f"{page.name}: {target}#{anchor}"
            leads.setdefault(page, set()).add(path)
    seen, more = set(), [ROOT / "README.md"]
    while more:
        page = more.pop()
        more += leads.get(page, set()) - seen
        seen |= leads.get(page, set())
    assert {page.name for page in (ROOT / "docs").glob("*.md") if page not in seen} == set()


def test_names_in_the_pages_are_there() -> None:
    """`mqtt5.Failed`, say: there is such a module or package, with that name in it."""
    sources = {}
    for path in sorted((ROOT / "firmware" / "dormouse").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "firmware").with_suffix("").parts)
        sources[name.removesuffix(".__init__")] = path.read_text()

    def has(module: str, name: str) -> bool:
        made = re.compile(rf"^(?:class|def|from .* import .*) ?\b{name}\b", re.M)
        homes = [home for home in sources if f".{home}".endswith("." + module)]
        return any(
            made.search(sources[inside])
            for home in homes
            for inside in sources
            if f"{inside}.".startswith(home + ".")
        )

    named = re.compile(r"(?<![\w./])([a-z_0-9.]+)\.([A-Z]\w*[a-z]\w*)")
    found = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for code in re.findall(r"`([^`\n]+)`", page.read_text()):
            for module, name in named.findall(code):
                found += module not in PYTHONS
                assert module in PYTHONS or has(module, name), f"{page.name}: {module}.{name}"
    assert found > 10


@pytest.mark.parametrize(
    ("stub", "module", "kind"),
    [("client", "client", "Client"), ("sleep/node", "sleep/node", "Node")],
)
def test_each_option_is_told_of(stub: str, module: str, kind: str) -> None:
    """In the docstring of who takes it: that is what `make docs` and an editor show."""
    folder = ROOT / "firmware" / "dormouse"

    def body(path: Path, name: str) -> ast.ClassDef:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        raise AssertionError(name)

    where = [(module, kind)]
    if kind == "Client":  # it hands on what is theirs
        where += [("session", "Session"), ("mqtt5/session", "Session5")]
    told = "".join(ast.get_docstring(body(folder / f"{m}.py", k)) or "" for m, k in where)
    for node in body(folder / f"{stub}.pyi", kind).body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            for option in [*node.args.args[2:], *node.args.kwonlyargs]:
                assert re.search(rf"\b{option.arg}\b", told), option.arg


def test_a_port_that_is_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((docs.HERE, 0)) as other:
        number = other.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["docs", "--serve", "--port", str(number)])
        assert docs.main() == 1
    said = capsys.readouterr().err
    assert f"port {number} is taken\nWhat to do: make docs ARGS=" in said


needs_mkdocs = pytest.mark.skipif(
    not importlib.util.find_spec("material"), reason="make docs brings mkdocs"
)


@needs_mkdocs
@pytest.mark.prove  # `make docs` builds the site itself
def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    page = "# Page\n\n[a](nowhere.md), [b](other.md#nowhere), [c](../README.md)\n"
    (tmp_path / "docs" / "page.md").write_text(page)
    (tmp_path / "docs" / "other.md").write_text("# Other\n")
    here = str(docs.CONFIG.parent)
    config = CONFIG[: CONFIG.index("\nnav:")].replace("../../docs", "docs")
    config = config.replace("[hooks.py]", f"[{here}/hooks.py]").replace("../../build/site", "site")
    config = config.replace("../../build/reference", str(ROOT / "build" / "reference"))
    (tmp_path / "mkdocs.yml").write_text(config)
    wrong = docs.build(tmp_path / "mkdocs.yml")
    assert "nowhere.md" in wrong and "#nowhere" in wrong
    assert "page.md' contains a link 'index.md'" not in wrong


@needs_mkdocs
@pytest.mark.prove
def test_site(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built without a warning."""
    monkeypatch.setattr("sys.argv", ["docs"])
    assert docs.main() == 0, capfd.readouterr().err
    page = (docs.SITE / "reference" / "dormouse" / "index.html").read_text()
    assert "publish_nowait" in page and "message_expiry" in page
    assert "examples/light.py" in (docs.SITE / "sleep" / "index.html").read_text()
