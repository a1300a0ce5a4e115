"""docs/conformance.md: each statement of the MQTT standards, and the tests that show it.

A test of pytest names the statements that it shows in a marker for each version of the standard,
for the versions give the same identifiers to different statements:

    @pytest.mark.mqtt311("MQTT-3.1.2-23", "MQTT-3.12.4-1")
    @pytest.mark.mqtt5("MQTT-3.1.2-20")

A check that runs on devices too (host_tests/unit/*_checks.py), which knows no pytest, names them in
comments right above it, one or more for each version:

    # mqtt311: MQTT-3.1.2-23 MQTT-3.12.4-1
    # mqtt5: MQTT-3.1.2-20
    def check_keepalive():

The statements are in docs/spec/mqtt311_client.csv and mqtt5_client.csv; docs/spec/reasons.csv says
why one does not bind this client, or that it is not done.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "docs" / "spec"
TESTS = ROOT / "host_tests"
REPORT = ROOT / "docs" / "conformance.md"
VERSIONS = {"mqtt311": "MQTT 3.1.1", "mqtt5": "MQTT 5.0"}  # the markers' names, too


class Claim(NamedTuple):
    """That a test shows a statement."""

    version: str
    id: str
    file: str  # below host_tests
    test: str


class Reason(NamedTuple):
    """Why no test shows a statement."""

    version: str
    id: str
    text: str


Statements = Mapping[str, Mapping[str, str]]  # version: identifier: what it says


# --- What tests claim -----------------------------------------------------------------------------


def claims_of_checks(path: Path) -> tuple[list[Claim], list[str]]:
    """Read the comments in a file of checks. Returns the claims, and what is wrong with them."""
    claims: list[Claim] = []
    wrong: list[str] = []
    above: list[tuple[str, str]] = []
    file = str(path.relative_to(TESTS))
    # One line too many: also at the end of the file a comment must be above something.
    for n, line in enumerate([*path.read_text().splitlines(), ""], 1):
        comment = re.match(r"\s*#\s*(mqtt\w*)\s*:\s*(.*)", line, re.IGNORECASE)
        check = re.match(r"(?:async )?def (check_\w+)", line)
        if comment:
            above += [(comment[1], id) for id in comment[2].split() or [""]]
        elif check:
            claims += [Claim(version, id, file, check[1]) for version, id in above]
            above = []
        elif above:
            wrong.append(f"{file}:{n}: the comment before this line is right above no check")
            above = []
    return claims, wrong


def check_of(item: Any) -> tuple[str, str] | None:
    """Return module and name of the check that a test of pytest runs, or None.

    The name is a parameter of the test. The module is another, or a global of the test's module.
    """
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    modules = [v for v in [*values, *vars(item.module).values()] if isinstance(v, ModuleType)]
    for name in values:
        if isinstance(name, str) and name.startswith("check_"):
            for module in modules:
                if module.__name__.endswith("_checks") and name in getattr(module, "CHECKS", ()):
                    return module.__name__, name
    return None


class NotCollected(Exception):
    """pytest could not collect all tests, so that nobody can say what they show."""


class _Collector:
    """A plugin of pytest that keeps what the collected tests claim."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.checks: list[tuple[str, str]] = []
        self.failed: list[str] = []

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid or "host_tests")

    def pytest_itemcollected(self, item: Any) -> None:
        file = str(item.path.relative_to(TESTS))
        for version in VERSIONS:
            for marker in item.iter_markers(version):
                name = item.originalname
                self.claims += [Claim(version, str(id), file, name) for id in marker.args or [""]]
        check = check_of(item)
        if check:
            self.checks.append(check)


def _collect(out: Path) -> None:
    """Collect as pytest does, in this process, and write what was found."""
    import pytest

    found = _Collector()
    args = ["--collect-only", "-qq", "-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts="]
    pytest.main([*args, str(TESTS)], plugins=[found])
    result = {"claims": found.claims, "checks": found.checks, "failed": found.failed}
    out.write_text(json.dumps(result))


def collect() -> tuple[list[Claim], list[str]]:
    """Return what all tests claim, and what is wrong with it. Raises NotCollected."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, __file__, "--collect", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
        if not out.exists():
            raise NotCollected(done.stdout + done.stderr)
        found = json.loads(out.read_text())
    if found["failed"]:
        output = done.stdout[max(done.stdout.find("= ERRORS ="), 0) :]
        raise NotCollected(", ".join(found["failed"]) + "\n" + output)
    claims = {Claim(*claim) for claim in found["claims"]}
    wrong: list[str] = []
    run = {tuple(check) for check in found["checks"]}
    for path in sorted(TESTS.rglob("*_checks.py")):
        more, bad = claims_of_checks(path)
        wrong += bad
        claims.update(more)
        names = sorted({claim.test for claim in more if (path.stem, claim.test) not in run})
        wrong += [f"{path.relative_to(TESTS)}: {name} is run by no test" for name in names]
    return sorted(claims), wrong


# --- What the standard says -----------------------------------------------------------------------


def statements() -> Statements:
    """Read the statements of both versions that touch a client, in the standard's order."""
    out: dict[str, dict[str, str]] = {}
    for version in VERSIONS:
        with (SPEC / f"{version}_client.csv").open(newline="") as file:
            out[version] = {row["id"]: row["summary"] for row in csv.DictReader(file)}
    return out


def reasons() -> list[Reason]:
    """Read why some have no test."""
    with (SPEC / "reasons.csv").open(newline="") as file:
        return [Reason(r["version"], r["id"], r["reason"]) for r in csv.DictReader(file)]


def problems(known: Statements, claims: Iterable[Claim], why: Iterable[Reason]) -> list[str]:
    """Return what keeps the report from being whole and true: nothing, if all is well."""
    wrong = []
    shown = set()
    for claim in claims:
        shown.add((claim.version, claim.id))
        if claim.id not in known.get(claim.version, ()):
            where = f"{claim.file}: {claim.test}"
            wrong.append(f"{where}: there is no statement {claim.version} {claim.id!r}")
    given = set()
    for version, id, text in why:
        if id not in known.get(version, ()):
            wrong.append(f"reasons.csv: there is no statement {version} {id!r}")
        if (version, id) in given:
            wrong.append(f"reasons.csv: {version} {id} is there twice")
        if (version, id) in shown:
            wrong.append(f"reasons.csv: {version} {id} is shown by a test and needs no reason")
        if not (text or "").strip():
            wrong.append(f"reasons.csv: {version} {id} has no reason")
        given.add((version, id))
    for version in known:
        for id in known[version]:
            if (version, id) not in shown | given:
                wrong.append(f"{version} {id} has neither a test nor a reason")
    return wrong


# --- The report -----------------------------------------------------------------------------------


def _tests(claims: Iterable[Claim]) -> str:
    files: dict[str, list[str]] = {}
    for claim in claims:
        files.setdefault(claim.file, []).append(claim.test)
    return "; ".join(
        f"[{Path(file).stem}](../host_tests/{file}): {', '.join(names)}"
        for file, names in files.items()
    )


def report(known: Statements, claims: list[Claim], why: list[Reason]) -> str:
    """Return docs/conformance.md."""
    lines = [
        "# Conformance",
        "",
        "Written by `make conformance ARGS=--write`; `make test` fails if it is no longer true.",
        "",
        "Each normative statement of the OASIS standards that touches a client, in short words,",
        "and the tests that show it; or, in italics, why it does not bind this client, or that",
        "it is not done. Where a server is the one who has to obey, a test shows what this client",
        "makes of it. How tests are marked: `tools/setup/conformance.py`.",
        "",
        "| version | statements | shown by tests | with a reason instead | of these not done |",
        "|---|---:|---:|---:|---:|",
    ]
    given = {(reason.version, reason.id): reason.text for reason in why}
    for version, title in VERSIONS.items():
        texts = [text for (v, _), text in given.items() if v == version]
        count = len(known[version])
        left = sum(text.startswith("not done") for text in texts)
        lines.append(f"| {title} | {count} | {count - len(texts)} | {len(texts)} | {left} |")
    for version, title in VERSIONS.items():
        lines += ["", f"## {title}", "", "| id | statement | shown by |", "|---|---|---|"]
        for id, summary in known[version].items():
            mine = [c for c in claims if (c.version, c.id) == (version, id)]
            by = _tests(mine) or f"*{given.get((version, id), 'nothing')}*"
            lines.append(f"| {id} | {summary} | {by} |".replace("$", "\\$"))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.relative_to(ROOT)}")
    parser.add_argument("--collect", type=Path, help=argparse.SUPPRESS)  # for collect()
    args = parser.parse_args()
    if args.collect:
        return _collect(args.collect)
    known, why = statements(), reasons()
    try:
        claims, wrong = collect()
    except NotCollected as error:
        raise SystemExit(f"not collected: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    wrong += problems(known, claims, why)
    for version, title in VERSIONS.items():
        shown = {c.id for c in claims if c.version == version} & set(known[version])
        given = sum(r.version == version for r in why)
        print(f"{title}: {len(known[version])}, by tests {len(shown)}, with a reason {given}")
    if wrong:
        raise SystemExit("\n".join(wrong))
    if args.write:
        REPORT.write_text(report(known, claims, why))
        print("wrote", REPORT.relative_to(ROOT))
    elif not REPORT.exists() or REPORT.read_text() != report(known, claims, why):
        raise SystemExit("docs/conformance.md is out of date: make conformance ARGS=--write")


if __name__ == "__main__":
    main()
