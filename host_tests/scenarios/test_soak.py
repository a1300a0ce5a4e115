"""A short soak (`make soak` is a million messages), and that it would notice."""

import pytest

from tools.desk import soak
from tools.testing.needs import missing, mosquitto_argv
from tools.testing.runtimes import MICROPYTHON32

pytestmark = pytest.mark.desk("starts several devices, each at a broker of its own")


@pytest.mark.parametrize("kinds", [[*soak.KINDS][::2], [*soak.KINDS][1::2]], ids=["RAM", "journal"])
def test_nothing_is_lost(kinds: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    mosquitto_argv()
    if MICROPYTHON32.reason:
        missing(MICROPYTHON32.reason)
    status = soak.main([*kinds, "--messages", "4000", "--every", "100"])
    said = capsys.readouterr().out
    assert not status, said
    assert " 0 cuts" not in said


@pytest.mark.parametrize(
    "values, wrong",
    [
        ([5000] * 9, ""),
        ([5000, 9000, 5000, 5000, 4000, 6000, 5000, 9000], ""),
        ([9000 - 500 * n for n in range(12)], "9000 bytes were free, then 5000"),
        ([5000, 1], ""),  # nothing can be said yet
    ],
)
def test_a_heap_that_shrinks_is_noticed(values: list[int], wrong: str) -> None:
    assert soak.shrunk(values, 1500) == wrong
    assert not soak.shrunk(values, share=0.5)
    assert soak.shrunk([n // (1 + at) for at, n in enumerate(values * 3)], share=0.5)


@pytest.mark.parametrize(
    "texts, wrong",
    [
        (["1 2 1 0 0 x", "1 2 1 0 0 x"], "came again"),
        (["1 2 1 0 0 x", "1 2 3 0 0 x", "1 2 2 0 0 x", "1 2 2 0 0 x"], "came again"),
        (["1 2 1 0 0 x", "1 2 3 0 0 x", "1 2 2 0 0 x"], ""),
        (["1 1 1 0 0 x", "1 1 1 0 0 x", "1 0 1 0 0 x", "1 0 5 0 0 x"], ""),
    ],
)
def test_what_is_wrong_is_noticed(texts: list[str], wrong: str) -> None:
    count = soak.Count()
    for text in texts:
        count.take(text)
    assert bool(count.wrong) == bool(wrong)
    assert not count.missing.get((1, 2))
    assert wrong in "".join(count.wrong)


def test_what_was_set_aside_is_waited_for() -> None:
    count = soak.Count()
    for text in ["1 2 1 0 0 x", "1 2 3 0 0 x", "2 1 1 0 0 x", "2 2 1 0 0 x"]:
        count.take(text)
    assert (count.gaps, count.complete(2, [0, 1, 1])) == ([(1, 2, 2)], False)
    count.take("1 2 2 0 0 x")
    assert (count.gaps, count.complete(2, [0, 1, 1])) == ([], True)
    assert not count.complete(2, [0, 1, 2])


def test_what_passed_of_a_message_is_told() -> None:
    record = soak.Record()
    publish = bytes.fromhex("3416 0007") + b"soak/up" + b"\x00\x19" + b"7 2 41 0 0 x"
    pubrec, pubrel, pubcomp = (bytes.fromhex(f"{first} 02 0019") for first in ("50", "62", "70"))
    record.take(3, True, publish)
    record.take(3, False, pubrec)
    record.take(3, True, pubrec)  # of a command under the same identifier
    record.take(3, True, bytes.fromhex("62 02 001a"))
    record.take(4, True, pubrel)
    assert record.tell(7, 41) == (
        "identifier 25; connection 3: PUBLISH PUBREC; connection 4: PUBREL"
    )
    record.take(4, False, pubcomp)
    assert record.tell(7, 41).endswith("4: PUBREL PUBCOMP")
    assert record.tell(7, 42) == "it was never sent"
