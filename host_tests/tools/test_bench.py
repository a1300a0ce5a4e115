"""make bench: its ruler is exact, its tables say what was found and what was not."""

from pathlib import Path

import pytest

from tools.desk import bench
from tools.desk.bench import Cannot, Client, Sheet
from tools.testing import runtimes
from tools.testing.needs import needed

# 16 bytes are the object, the others its bytes, in blocks of 16.
KNOWN = """
import gc, sys
for _ in range(int(sys.argv[3])):
    bytearray(SIZE)
    gc.collect()
"""
CANNOT = """
import sys
print("it has none of these")
sys.exit(3)
"""


def peer(folder: Path, text: str) -> Client:
    """Return a client that is a program of ours."""
    needed(lambda: runtimes.get.micropython(32))
    (folder / "known_peer.py").write_text(text)
    return Client("known", "known_peer", "micropython32", [folder])


def test_bytes_are_exact(tmp_path: Path) -> None:
    """Whether or not the program collects; and more than there is room for is no figure."""
    small, large = (KNOWN.replace("SIZE", size) for size in ("100", "1 << 20"))
    assert bench.allocated(peer(tmp_path, small), "recv32") == 16 + 112
    with pytest.raises(RuntimeError, match="MemoryError"):
        bench.allocated(peer(tmp_path, large), "recv32")


def test_publishing_takes_few() -> None:
    """The call alone, and with it what sends it: a real client and a real broker."""
    needed(lambda: runtimes.get.micropython(32))
    needed(runtimes.get.mosquitto)
    client = Client("dormouse", "dormouse_peer", "micropython32")
    call = bench.allocated(client, "call0")
    assert 0 < call <= 160
    assert call < bench.allocated(client, "nowait0")


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program; and a client that cannot be had."""
    monkeypatch.setattr(bench, "PEERS", tmp_path)
    cannot = peer(tmp_path, CANNOT)
    sheet, _, other = bench.sheets()
    bench.measure([sheet], [cannot], ["recv32"], 2)
    away = Client("away", "away_peer", "cpython", why_not="not on the index")
    found = [away, cannot]
    assert bench.missing(other, found) == ["away: not on the index"]
    assert bench.missing(sheet, found) == ["known, receive 32 B, QoS 0: it has none of these"]
    assert "\n- away: not on the index\n" in bench.report([sheet, other], found, 2)


def test_a_table() -> None:
    """Medians, the least and the most where they differ, ratios to dormouse; "-" where a client has
    not what another has; no row where none has."""
    sheet = Sheet("name", "cpython", "CPython", "bytes", bench.CASES, bench.cpu)
    sheet.found = {
        ("dormouse", "pub0"): [1000, 4000, 2000],
        ("other", "pub0"): [1000, 1000, 1000],
        ("dormouse", "recv32"): [8],
        ("dormouse", "recv1024"): [-1, 0, 1],
        ("other", "recv1024"): [3],
    }
    assert sheet.rows() == [
        ["bytes", "dormouse", "other"],
        ["publish, QoS 0", "2,000 (1,000 to 4,000)", "1,000, x 0.50"],
        ["receive 32 B, QoS 0", "8", "-"],
        ["receive 1 KiB, QoS 0", "0 (-1 to 1)", "3"],
    ]


def test_some_cases_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """The report would lose the others."""
    before = bench.REPORT.read_text()
    with pytest.raises(SystemExit):
        bench.main(["--case", "call0", "--rounds", "1", "--write"])
    assert "without --case" in capsys.readouterr().err
    assert bench.REPORT.read_text() == before


def test_who_is_asked() -> None:
    """Only dormouse has publish_nowait; who cannot is asked once, whose run failed again."""
    asked = []

    def take(client: Client, case: str) -> float:
        asked.append((client.name, case))
        if client.name == "cannot":
            raise Cannot("it has none")
        if client.name == "fails":
            raise RuntimeError("status 1")
        return 1.0

    sheet = Sheet("name", "cpython", "CPython", "bytes", bench.BYTES, take)
    found = [Client(name, "a_peer", "cpython") for name in ("dormouse", "cannot", "fails")]
    bench.measure([sheet], found, ["call0", "pub1"], 2)
    again = [("dormouse", "call0"), ("dormouse", "pub1"), ("fails", "pub1")]
    assert asked == [*again[:2], ("cannot", "pub1"), again[2], *again]
    assert list(sheet.faults) == [
        "cannot, publish, QoS 1, one by one: it has none",
        "fails, publish, QoS 1, one by one: status 1",
    ]
