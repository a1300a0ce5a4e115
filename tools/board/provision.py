"""Write config.json and certificates onto a board: Wi-Fi, broker, TLS, client identifier, topic ...

    make provision BOARD=ESP32_GENERIC              # asks; what the board has is the default
    DORMOUSE_SSID=home DORMOUSE_HOST=10.0.0.2 make provision BOARD=... </dev/null   # asks nothing

Each setting is taken from its environment variable, else asked for (on a terminal), else as the
board has it. Passwords are asked for without being shown, or come from the environment; they are
never on a command line, and never printed, with DRY_RUN=1 neither. What is on the board in
config.json besides stays. All is checked first, the broker by a connection from this machine (not
with NO_TEST=1, for a broker that only the board can reach), over TLS with the very files that go
to the board. With another update_key all that updates of the one before left there goes first: one
that is half fetched, a version on trial, the numbers below which nothing is taken. Certificates and
keys are read in PEM or DER and go there in DER, under names that its config.json does not use yet:
it has the old ones or the new ones, all of them. On the board keys and passwords are in plain text.
main.py starts anew with it.

Exit status: 0; 1 it cannot be done, with the reason; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import boards, certificates, face, tool
from .broker_check import test_connect
from .device import ANSWERS, WHO, Device, answered, check
from .owner import CannotSign, add_options, chosen, home
from .safety import file_name, is_plain, is_printable, keep_aside, printable
from .settings import (
    FILES,
    SETTINGS,
    STORES,
    UNCHANGED,
    CannotProvision,
    Settings,
    collect,
    masked,
    nested,
)

# On the board: the new file is whole before it takes the place of the old one. FAT does not rename
# onto a file that is there.
REPLACE = (
    "import os\n"
    "try:\n"
    " os.rename('config.new', 'config.json')\n"
    "except OSError:\n"
    " os.remove('config.json')\n"
    " os.rename('config.new', 'config.json')\n"
)
# Behind it: files that config.json does not name any more.
REMOVE = "for name in %r:\n try:\n  os.remove(name)\n except OSError:\n  pass\n"
# What an update_key began must not go on with another one: a thief may have begun it. First the
# version on trial goes back: boot.py does that where there is a B, and runs at a soft reset.
END_TRIAL = """\
try:
 with open('update.json', 'rb') as f:
  f.readline()
  marks = f.read()
 if marks[:1] == b'A' and not marks[1:].strip(b'0123456789'):
  with open('update.json', 'ab') as f:
   f.write(b'B')
except OSError:
 pass
"""
# Then the rest: update.json only where boot.py has nothing to do by it, or all is done, else there
# might be half a version. The numbers, too: a thief can have made them so high that nothing of the
# new owner's is ever above them. What cannot be removed ends this before the new key is there.
FORGET = """\
import json, os
names = ['update.part', 'update.id', 'update.id2', 'update.order', 'update.order2']
stays = False
try:
 with open('update.json', 'rb') as f:
  line = f.readline()
  marks = f.read()
except OSError as e:
 if e.errno != 2:
  raise
else:
 if marks[-1:] in (b'', b'b', b'D'):
  names.insert(0, 'update.json')
  try:
   names += [file[0] + '.old' for file in json.loads(line)['files']]
  except Exception:
   pass
 else:
  stays = True
  del names[0]
gone = []
for name in names:
 try:
  os.remove(name)
  gone.append(name)
 except OSError as e:
  if e.errno != 2 and name[:7] == 'update.':
   raise
answer([gone, stays])
"""
HAS_PSK = (
    "try:\n import tls\nexcept ImportError:\n import ssl as tls\n"
    "answer(hasattr(tls.SSLContext(tls.PROTOCOL_TLS_CLIENT), 'psk_key'))\n"
)
READ = """\
try:
 with open('config.json') as f:
  who['config'] = f.read()
except OSError:
 who['config'] = ''
answer(who)
"""
UPDATE_TOPIC = "DORMOUSE_UPDATE_TOPIC"
LONGEST = 0x7FFFFFFF  # ms: what ESP32's machine.deepsleep takes
MOST_AWAKE = 10000  # ms: firmware/main.py's "budget" where config.json has none


# --- Certificates ---------------------------------------------------------------------------------


@dataclass
class TLS:
    """What config.json has of TLS, and the files that go to the board, by their names there."""

    config: Settings
    files: dict[str, bytes]

    def kept(self) -> list[str]:
        """Return the names of files that the board has already, and keeps."""
        names = [self.config[part] for part in FILES if part in self.config]
        return [name for name in names if name not in self.files]


def make_tls(found: Settings, old: Settings) -> TLS:
    """Read and check the files that were named. `old`: the tls of the board's config.json.

    Raises CannotProvision.
    """
    if found["tls"] == "no":
        return TLS({}, {})
    if found["tls"] == "psk":
        return TLS({"psk": [found["tls.identity"], found["tls.psk"]]}, {})
    config: Settings = {}
    files: dict[str, bytes] = {}
    try:
        data = _read_files(found)
    except ValueError as error:
        raise CannotProvision(f"{error}\nWhat to do: DORMOUSE_CA, _CERT, _KEY=...") from None
    for part, names in FILES.items():
        if found.get(f"tls.{part}") == UNCHANGED:
            if part not in old:
                raise CannotProvision(f"the board has no {part}\nWhat to do: name a file")
            if not is_plain(old[part]):
                raise CannotProvision(
                    f"the board's config.json has a strange name for its {part}: "
                    f"{printable(str(old[part]))[:60]!r}\nWhat to do: name a file of yours"
                )
            config[part] = old[part]
        elif part in data:
            config[part] = names[1] if old.get(part) == names[0] else names[0]
            files[config[part]] = data[part]
    return TLS(config, files)


def _read_files(found: Settings) -> dict[str, bytes]:
    """Return part -> DER of the files that were named. Raises ValueError."""
    given = {
        part: Path(found[f"tls.{part}"])
        for part in FILES
        if found[f"tls.{part}"] not in (None, UNCHANGED)
    }
    if ("cert" in given) != ("key" in given):
        raise ValueError("a client certificate and its key: both anew, or none")
    data = {}
    for part in given.keys() - {"key"}:
        certificate = certificates.read_certificate(given[part])
        data[part] = certificates.certificate_der(certificate)
        if certificates.ends_soon(certificate):
            end = certificate.not_valid_after_utc
            print(f"note: {given[part]} expires on {end:%Y-%m-%d}", file=sys.stderr)
    if "key" in given:
        key = certificates.read_key(given["key"], found["tls.key_password"])
        if not certificates.belongs(key, certificates.read_certificate(given["cert"])):
            raise ValueError(f"{given['key']} is not the key of {given['cert']}")
        data["key"] = certificates.key_der(key)
    return data


# --- The board ------------------------------------------------------------------------------------


def read_old(device: Device, board: boards.Board) -> dict[str, Any]:
    """Return the board's config.json, {} if it has none. Raises CannotProvision; DeviceError,
    also for another board than was named, which may have no such store."""
    answer = device.ask(WHO + READ)
    check(board, answer)
    text = answer["config"]
    if not text:
        return {}
    try:
        old = json.loads(text)
    except ValueError:
        old = None
    if not isinstance(old, dict) or not is_printable(old) or not _shaped(old):
        print("its config.json cannot be read, and is made anew", file=sys.stderr)
        return {}
    return old


def _shaped(config: dict[str, Any]) -> bool:
    # Only as far as the settings look into it: what is in it may be wrong, and is asked for.
    psk = (config.get("tls") or {}).get("psk") if isinstance(config.get("tls"), dict) else None
    return (
        all(isinstance(config.get(key) or {}, dict) for key in ("wifi", "tls"))
        and (psk is None or (isinstance(psk, list) and len(psk) == 2))
        and isinstance(config.get("budget", 0), int)
    )


def fetch(device: Device, names: list[str], folder: Path) -> None:
    """Copy files from the board into `folder`. Raises DeviceError."""
    for name in names:
        device.run("cp", f":{name}", str(folder / name))


def put(path: Path, data: bytes) -> Path:
    """Write a file that only this user may read."""
    path.touch(0o600)
    path.write_bytes(data)
    return path


def write(device: Device, config: Settings, files: dict[str, bytes], before: Settings) -> str:
    """Put files and config.json onto the board, and reset. Return what is to be told of updates of
    another update_key than the new one, or "". Raises DeviceError.

    The files have names that its config.json does not use yet; so with config.json, which is there
    whole or not at all, they change all at once. `before`: the board's config.json.
    """
    device.changed = not device.dry_run
    old = before.get("tls") or {}
    tls = config.get("tls", {})
    another = before.get("update_key") != config.get("update_key")
    wanted = {tls.get(part) for part in FILES}
    stale = [name for names in FILES.values() for name in names if name not in wanted]
    # Of a board on which there never was TLS there is nothing to remove.
    remove = ["exec", REMOVE % (stale,), "+"] if old or tls else []
    with tempfile.TemporaryDirectory() as folder:  # only for this user
        commands: list[str] = []
        for name, data in files.items():
            commands += ["cp", str(put(Path(folder) / name, data)), f":{name}", "+"]
        text = json.dumps(config, indent=2) + "\n"
        path = put(Path(folder) / "config.json", text.encode())
        commands += ["cp", str(path), ":config.new", "+"]
        if another:  # before the new key is there: a cut leaves the old one, which forgets again
            commands += ["exec", END_TRIAL, "+", "soft-reset", "+", "exec", ANSWERS + FORGET, "+"]
        said = device.run(*commands, "exec", REPLACE, "+", *remove, "reset")
    return forgotten(*answered(said)) if another and not device.dry_run else ""


def forgotten(gone: list[str], stays: bool) -> str:
    """Return a line that tells what is gone with an update_key, "" for nothing."""
    names = ", ".join(gone)
    told = f"Another update key: what the one before left is gone: {names}" if gone else ""
    if stays:
        told = (
            f"{told or 'Another update key'}; update.json stays: the version before the one on "
            "trial could not be put back (docs/ota.md)"
        )
    return printable(told)


def check_board(board: boards.Board, found: Settings) -> None:
    """Check that the board can do what the settings ask for. Raises CannotProvision."""
    if STORES[found["store"]] not in board.sleep["stores"]:
        raise CannotProvision(
            f"{board.name} has no {found['store']}\nWhat to do: DORMOUSE_STORE=journal"
        )
    budget = found.get("budget", MOST_AWAKE)
    if not isinstance(budget, int):
        return
    # Both as in dormouse.sleep.Node, which allows for a timer that is a quarter off.
    longest = (board.sleep.get("longest_ms", LONGEST) - budget) // 1250
    if found["period"] > longest:
        raise CannotProvision(
            f"{board.name} cannot sleep so long\nWhat to do: {longest} s between wakes, or less"
        )
    if budget // 1000 + 2 > found["period"]:
        print(
            f"note: a wake may take {budget // 1000} s (budget): a node that sleeps, as\n"
            f"firmware/main.py does, needs {budget // 1000 + 2} s between wakes, or more",
            file=sys.stderr,
        )


def try_out(device: Device, board: boards.Board, config: Settings, tls: TLS, test: bool) -> None:
    """Check what only the board and the broker know. Raises CannotProvision, DeviceError."""
    if "psk" in tls.config and not device.ask(HAS_PSK):
        raise CannotProvision(
            f"the MicroPython on this {board.name} has no pre-shared keys\n"
            "What to do: MicroPython 1.29 or later (make flash), or DORMOUSE_TLS=yes"
        )
    if not test:
        return
    print(f"trying the broker at {config['host']} from here ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in tls.files.items():
            put(Path(folder) / name, data)
        fetch(device, tls.kept(), Path(folder))
        test_connect(config, Path(folder))


def check_topic(text: str) -> str:
    """Return a topic for updates. Raises CannotProvision."""
    if not text or set(text) & set("#+\0 ") or text.endswith("/"):
        raise CannotProvision(f"{UPDATE_TOPIC}: a topic without + and #, such as fleet/update")
    return text


def owners_keys(topic: str, options: argparse.Namespace) -> tuple[str, str]:
    """Return the owner's public key, and the node's own, by which its reports are known. Raises
    CannotProvision."""
    try:
        owner, _ = chosen(options)
        return owner.key, owner.node_key(topic)
    except CannotSign as error:
        raise CannotProvision(str(error)) from None


def new_update_key(client_id: str) -> tuple[str, Path]:
    """Make a key, and return it with the file that will have it, which has it under .new now.

    No two identifiers share a file, and a key that is there is kept beside it.
    """
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_hex(32)
    path = home() / f"{file_name(client_id)}.update_key"
    put(path.with_suffix(".update_key.new"), key.encode() + b"\n")
    return key, path


def settled(device: Device, board: boards.Board, test: bool) -> tuple[Settings, TLS, Settings]:
    """Return config.json, the files that go with it, and the config.json that the board has now:
    asked for, and tried out. Raises CannotProvision, DeviceError."""
    before = {} if device.dry_run else read_old(device, board)
    old = before.get("tls") or {}
    answers: dict[str, str | None] = {}
    while True:
        found = collect(before, os.environ, sys.stdin.isatty(), answers)
        try:
            check_board(board, found)
            tls = make_tls(found, old)
            config = nested(found, tls.config)
            if config.get("node_key") and before.get("topic") != config["topic"]:
                del config["node_key"]  # it is of a topic
                if config.get("update_key") != "owner":
                    print(
                        "Another topic: its reports are proven by DORMOUSE_UPDATE_KEY=owner again"
                    )
            if not device.dry_run:
                try_out(device, board, config, tls, test)
            return config, tls, before
        except CannotProvision as error:
            if not answers:  # nobody was asked
                raise
            told = face.words(f"provision: {error}\n\nOnce more; Ctrl-C ends this.")
            print(told, file=sys.stderr)
            given = [each.variable for each in SETTINGS if each.variable in os.environ]
            if given:
                print(f"Not asked for, but in the environment: {', '.join(given)}", file=sys.stderr)


def provision(board: boards.Board, port: str, options: argparse.Namespace) -> str:
    """Do all of it; return a line that tells what was done. Raises CannotProvision, DeviceError."""
    test, dry_run = not options.no_test, options.dry_run
    if options.key or options.sign:
        os.environ.setdefault("DORMOUSE_UPDATE_KEY", "owner")
    device = Device(port, dry_run)
    with tool.held(device):
        config, tls, before = settled(device, board, test)
        path = None
        if config.get("update_key") == "new" and not dry_run:
            config["update_key"], path = new_update_key(config["client_id"])
            config.pop("node_key", None)
        if config.get("update_key") == "owner" and not dry_run:
            config["update_key"], config["node_key"] = owners_keys(config["topic"], options)
        if UPDATE_TOPIC in os.environ:  # of a group of nodes
            config["update_topic"] = check_topic(os.environ[UPDATE_TOPIC])
        told = write(device, config, tls.files, before)
    print(masked(config))
    if told:
        print(told)
    if path:
        if aside := keep_aside(path):
            print(f"The key before is kept: {aside}")
        path.with_suffix(".update_key.new").replace(path)
        print(f"The new update key: export DORMOUSE_UPDATE_KEY=$(cat {shlex.quote(str(path))})")
    if "key" in tls.config or "psk" in tls.config:
        print("Its private key is on the board in plain text: who has the board has it.")
    if dry_run:
        return "nothing was done: these are the commands for a board with no config.json"
    return f"config.json is on the board, which runs. Next: make logs BOARD={board.name}"


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, provision, and return the exit status."""
    variables = ", ".join(setting.variable for setting in SETTINGS)
    parser = tool.parser(
        "Write config.json onto a board; asks for what the environment does not have. "
        f"Environment: {variables}, {UPDATE_TOPIC}. Passwords are taken from there, or asked for.",
        "make provision BOARD=... PORT=... NO_TEST=1",
    )
    parser.add_argument("--no-test", action="store_true", help="do not try the broker from here")
    add_options(parser)
    options = parser.parse_args(argv)

    def work() -> str:
        board, port = tool.found(options)
        return provision(board, port, options)

    return tool.finish("provision", work, "config.json is whole, the old one or the new")


if __name__ == "__main__":
    sys.exit(main())
