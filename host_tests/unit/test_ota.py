"""The checks of ota.py and large_ota.py on every runtime; the sender's half against the node's."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import large_ota_checks
import ota_checks
import pytest
from dormouse.field.ota import verify
from harness.owner import messages
from test_core import ON_MICROPYTHON, all_passed

from tools.board import ota
from tools.board.owner import CannotSign, CommandOwner, FileOwner, SecretOwner, make
from tools.board.update import Bundle
from tools.testing import runtimes
from tools.testing.runtimes import ROOT

SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so")
MODULES = (ota_checks, large_ota_checks)


@pytest.mark.parametrize(
    ("checks", "name"), [(module, name) for module in MODULES for name in module.CHECKS]
)
def test_check(
    checks: types.ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    getattr(checks, name)()


@pytest.mark.once
@ON_MICROPYTHON
@pytest.mark.parametrize("checks", MODULES, ids=lambda module: module.__name__)
def test_on_micropython(
    runtime: runtimes.Runtime, checks: types.ModuleType, tmp_path: Path
) -> None:
    assert checks.__file__
    with runtime.start(Path(checks.__file__), cwd=tmp_path) as device:
        assert device.wait_exit(60) == 0, device.transcript()
        all_passed(checks, "\n".join(device.lines) + "\n")


def test_boot_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A read that fails once does not take the end of its trial from an update."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "machine", types.ModuleType("machine"))
    plan = {"tries": 3, "watchdog": 8000, "limit": 60, "chunk": 256, "skip": 9, "files": []}
    Path("update.json").write_text(json.dumps(plan) + "\nA1D")
    faults = [OSError(5)]

    def flaky(name: str, mode: str) -> Any:
        if faults:
            raise faults.pop()
        return open(name, mode)

    exec((ROOT / "firmware" / "boot.py").read_text(), {"open": flaky})
    assert not faults and Path("update.json").exists() and not capsys.readouterr().out


@pytest.mark.parametrize("replaces", [True, False], ids=["littlefs", "FAT"])
def test_back_though_a_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    """Half of the old version is copied back: then it is renamed, where a name is taken too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "machine", types.ModuleType("machine"))

    class Filesystem:
        stat, remove = staticmethod(os.stat), staticmethod(os.remove)

        @staticmethod
        def rename(old: str, new: str) -> None:
            if Path(new).exists() and not replaces:
                raise OSError(17, "EEXIST")
            os.replace(old, new)

    monkeypatch.setitem(sys.modules, "os", Filesystem)  # type: ignore[arg-type]
    plan = {"tries": 3, "watchdog": 8000, "limit": 60, "chunk": 256, "skip": 9}
    files = [["main.py", 0, 9, 300]]
    Path("update.json").write_text(json.dumps({**plan, "files": files}) + "\nA111")
    Path("main.py").write_bytes(b"new")
    Path("main.py.old").write_bytes(b"old" * 300)
    faults = [OSError(5, "fault")]

    def flaky(name: str, mode: str) -> Any:
        if name == "main.py" and faults:
            Path(name).write_bytes(b"ol")
            raise faults.pop()
        return open(name, mode)

    exec((ROOT / "firmware" / "boot.py").read_text(), {"open": flaky})
    assert not faults and Path("main.py").read_bytes() == b"old" * 300
    assert Path("update.json").read_text().endswith("A111Bb")


def test_sender_makes_what_is_documented() -> None:
    """The tool's offer and chunks, and those that the checks spell out by hand, are the same."""
    update = ota_checks.Update()
    bundle = Bundle(dict(ota_checks.NEW), 3, 60, 8000)
    owner = SecretOwner(ota_checks.SECRET)
    offer, *chunks = messages(bundle, 5, "green/+", owner, ota_checks.CHUNK)
    assert offer == ("", update.payload)
    assert [data for _, data in chunks] == update.chunks
    update = large_ota_checks.update()
    bundle = Bundle(dict(large_ota_checks.FILES), 3, 60, 8000)
    offer, *messages_ = messages(bundle, 5, "green/+", owner, ota_checks.CHUNK, large=True)
    assert offer == ("", update.payload)
    found = large_ota_checks.retained()
    assert {f"green/7/update/{name}": data for name, data in messages_} == {
        name: data for name, data in found.items() if name.count("/") == 5
    }


def test_an_owner_and_a_node(tmp_path: Path) -> None:
    """What one signs the other takes; RSA of all sizes, by a file, by openssl, by a passphrase."""
    text = "dormouse-update 5"
    for bits in (2048, 3072):
        path = tmp_path / f"{bits}.pem"
        make(path, bits, None)
        assert path.stat().st_mode & 0o777 == 0o600
        owner = FileOwner(path)
        assert verify(owner.key, text, owner.sign(text))
        assert not verify(owner.key, text + "0", owner.sign(text))
    with pytest.raises(CannotSign, match="there already"):
        make(path, 2048, None)
    saved = path.rename(tmp_path / "saved.pem")
    with pytest.raises(CannotSign, match=r"3072.pub.pem is there already"):
        make(path, 2048, None)
    assert not path.exists()
    saved.rename(path)
    command = f"openssl dgst -sha256 -sign {path}"
    other = CommandOwner(command, path.with_suffix(".pub.pem"))
    assert other.key == owner.key and other.sign(text) == owner.sign(text)
    assert other.node_key("n") == owner.node_key("n") != owner.node_key("m")
    with pytest.raises(CannotSign, match="not a signature by that"):
        CommandOwner(command, tmp_path / "2048.pub.pem").sign(text)
    with pytest.raises(CannotSign, match="false"):
        CommandOwner("false", path.with_suffix(".pub.pem")).sign(text)
    path.chmod(0o644)
    with pytest.raises(CannotSign, match="chmod 600"):
        FileOwner(path)


def test_a_key_in_an_hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PKCS #11, with the commands of docs/ota.md, where SoftHSM and OpenSC are installed."""
    found = [p for p in map(Path, SOFTHSM) if p.exists()]
    if not (found and shutil.which("pkcs11-tool") and shutil.which("softhsm2-util")):
        pytest.skip("SoftHSM and OpenSC are not here: packages softhsm2, opensc")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PIN", "4711")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "ota.md").read_text().replace("MODULE", str(found[0]))
    (block,) = [text for text in page.split("```sh\n") if text.startswith("pkcs11-tool")]
    read, convert, sign, *_ = block.replace("\\\n", "").split("\n")
    made = "softhsm2-util --init-token --free --label t --so-pin 4711 --pin 4711"
    pair = f"pkcs11-tool --module {found[0]} --login --pin 4711 --keypairgen --key-type rsa:2048"
    for command in (made, f"{pair} --id 01", read, convert):
        subprocess.run(shlex.split(command), check=True, capture_output=True)
    command = sign[sign.index("'") + 1 : sign.rindex("'")]
    owner = CommandOwner(command, tmp_path / "owner.pub.pem")
    assert verify(owner.key, "dormouse-update 5", owner.sign("dormouse-update 5"))


def test_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "owner.pem"
    make(path, 2048, "a passphrase")
    assert b"ENCRYPTED" in path.read_bytes()
    monkeypatch.setenv("DORMOUSE_KEY_PASSPHRASE", "a passphrase")
    assert FileOwner(path).key.startswith("rsa:")
    monkeypatch.setenv("DORMOUSE_KEY_PASSPHRASE", "another")
    with pytest.raises(CannotSign, match="another passphrase"):
        FileOwner(path)
    monkeypatch.delenv("DORMOUSE_KEY_PASSPHRASE")
    with pytest.raises(CannotSign, match="DORMOUSE_KEY_PASSPHRASE="):
        FileOwner(path)


def test_an_owner_without_a_good_key(tmp_path: Path) -> None:
    with pytest.raises(CannotSign, match="32 characters"):
        SecretOwner("4711")
    for data, why in ((b"", "no private key"), (b"-----BEGIN", "no private key")):
        path = tmp_path / "bad.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(CannotSign, match=why):
            FileOwner(path)
    with pytest.raises(CannotSign, match="make ota-key"):
        FileOwner(tmp_path / "none.pem")


@pytest.mark.parametrize("option", ["--watchdog=3000000000", "--limit=10000000", "--tries=1000"])
def test_trial_that_would_not_end(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """boot.py could not give such a time to the chip, or nobody lives to see its end."""
    with pytest.raises(SystemExit):
        ota.parse(["--host", "h", "--topic", "t", option])
    assert " from 1 to " in capsys.readouterr().err
