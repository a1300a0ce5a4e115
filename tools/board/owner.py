"""Make the key that updates are signed with: `make ota-key`.

    make ota-key                                    # ~/.config/dormouse/owner.pem, for all nodes
    make ota-key KEY=greenhouse.pem ARGS=--passphrase

The private key stays on this desk, in a file that only its user may read. Nodes get the public one
(`make provision`), which tells nothing. Who has the private key runs programs on all your nodes:
keep a copy of it where fire and thieves do not go, and never at the broker. Whoever keeps keys in
an HSM needs none of this: `make ota ARGS="--sign COMMAND --public FILE"`.

Exit status: 0; 1 it cannot be done, with the reason; nothing is ever overwritten.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import hmac
import os
import shlex
import subprocess
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import face

BITS = (2048, 3072, 4096)
PASSPHRASE = "DORMOUSE_KEY_PASSPHRASE"


class CannotSign(Exception):
    """The key cannot be used, or made. The text says why, and what to do; it holds no secret."""


def home() -> Path:
    """Return the folder of this user's keys."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dormouse"


def usual() -> Path:
    """Return where the owner's key is if nothing else is said."""
    return home() / "owner.pem"


def put_new(path: Path, data: bytes) -> None:
    """Write a file that only this user may read, and that is not there yet. Raises CannotSign."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CannotSign(f"{path} is there already, and is not overwritten") from None
    except OSError as error:
        raise CannotSign(f"{path}: {error.strerror}") from None
    with os.fdopen(fd, "wb") as f:
        f.write(data)


def modulus(public: object, name: str) -> str:
    """Return a public key as a node's config.json has it. Raises CannotSign."""
    if not isinstance(public, rsa.RSAPublicKey):
        raise CannotSign(f"{name}: no RSA key\nWhat to do: make ota-key")
    numbers = public.public_numbers()
    if public.key_size not in BITS or numbers.e != 65537:
        raise CannotSign(f"{name}: RSA of 2048, 3072 or 4096 bits with the exponent 65537")
    return f"rsa:{numbers.n:x}"


class Owner:
    """Who signs updates. ``key``: what nodes know of him, as "update_key" in config.json."""

    key: str

    def sign(self, text: str) -> str:
        """Return the signature of a text, in hex. Raises CannotSign."""
        raise NotImplementedError

    def node_key(self, topic: str) -> str:
        """Return the secret by which a node's reports are known, "node_key" in its config.json.

        It is the hash of a signature, which nobody else can make, so that nothing has to be kept
        for each node, and one node's tells nothing of another's. Raises CannotSign.
        """
        return hashlib.sha256(bytes.fromhex(self.sign(f"dormouse-node {topic}"))).hexdigest()


class SecretOwner(Owner):
    """One who shares a secret with one node: HMAC-SHA256."""

    def __init__(self, secret: str):
        if len(secret) < 32:
            raise CannotSign("update_key: 32 characters or more; a node takes no other")
        self.key = secret

    def sign(self, text: str) -> str:
        return hmac.new(self.key.encode(), text.encode(), "sha256").hexdigest()

    def node_key(self, topic: str) -> str:
        return self.key


class FileOwner(Owner):
    """One whose private key is in a file (PEM)."""

    def __init__(self, path: Path):
        self.path = path
        try:
            data = path.read_bytes()
            if os.name == "posix" and path.stat().st_mode & 0o077:
                raise CannotSign(f"{path}: others may read it\nWhat to do: chmod 600 {path}")
        except OSError as error:
            raise CannotSign(f"{path}: {error.strerror}\nWhat to do: make ota-key") from None
        self._private = self._load(data)
        self.key = modulus(self._private.public_key(), str(path))

    def _load(self, data: bytes) -> rsa.RSAPrivateKey:
        try:
            try:
                private = serialization.load_pem_private_key(data, None)
            except TypeError:  # it is encrypted
                private = serialization.load_pem_private_key(data, self._passphrase())
        except ValueError as error:
            raise CannotSign(f"{self.path}: no private key, or another passphrase") from error
        if not isinstance(private, rsa.RSAPrivateKey):
            raise CannotSign(f"{self.path}: no RSA key\nWhat to do: make ota-key")
        return private

    def _passphrase(self) -> bytes:
        found = os.environ.get(PASSPHRASE)
        if not found and sys.stdin.isatty():
            found = getpass.getpass(f"passphrase of {self.path}: ")
        if not found:
            raise CannotSign(f"{self.path} has a passphrase\nWhat to do: {PASSPHRASE}=...")
        return found.encode()

    def sign(self, text: str) -> str:
        return self._private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()


class CommandOwner(Owner):
    """One whose key is elsewhere, in an HSM, say: a command gets the text at its standard input,
    and gives the signature, RSASSA-PKCS1-v1_5 with SHA-256, as bytes, at its standard output."""

    def __init__(self, command: str, public: Path):
        try:
            self.argv = shlex.split(command)
        except ValueError as error:  # a quote that does not end
            raise CannotSign(f"--sign: {error}") from None
        try:
            self._public = serialization.load_pem_public_key(public.read_bytes())
        except (OSError, ValueError) as error:
            raise CannotSign(f"{public}: no public key (PEM): {error}") from None
        self.key = modulus(self._public, str(public))

    def sign(self, text: str) -> str:
        try:
            done = subprocess.run(self.argv, input=text.encode(), capture_output=True)
        except (OSError, IndexError) as error:
            raise CannotSign(f"{' '.join(self.argv)}: {error}") from None
        if done.returncode:
            raise CannotSign(f"{self.argv[0]}: {done.stderr.decode(errors='replace').strip()}")
        assert isinstance(self._public, rsa.RSAPublicKey)  # by modulus()
        try:
            self._public.verify(done.stdout, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise CannotSign(
                f"{self.argv[0]}: what it gives is not a signature by that public key\n"
                'What to do: as "openssl dgst -sha256 -sign KEY" does'
            ) from None
        return done.stdout.hex()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let the command line say who signs; see ``chosen``."""
    add = parser.add_argument_group("who signs").add_argument
    add("--key", type=Path, metavar="FILE", help="private key (~/.config/dormouse/owner.pem)")
    add("--sign", metavar="COMMAND", help="signs its input: openssl dgst -sha256 -sign ...")
    add("--public", type=Path, metavar="FILE", help="... the public key (PEM)")


def chosen(options: argparse.Namespace) -> tuple[Owner, Path]:
    """Return who signs, and the file of his key. Raises CannotSign."""
    if options.sign:
        if not options.public:
            raise CannotSign("--sign needs --public FILE, the public key (PEM)")
        return CommandOwner(options.sign, options.public), options.public
    path = options.key or usual()
    return FileOwner(path), path


def make(path: Path, bits: int, passphrase: str | None) -> None:
    """Make a private key, and beside it its public one. Raises CannotSign."""
    beside = path.with_suffix(".pub.pem")
    if beside.exists():  # of a private key that is elsewhere, perhaps
        raise CannotSign(f"{beside} is there already, and is not overwritten")
    private = rsa.generate_private_key(65537, bits)
    cipher: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        cipher = serialization.BestAvailableEncryption(passphrase.encode())
    put_new(
        path,
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher
        ),
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    put_new(beside, public)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, make a key, and return the exit status."""
    parser = face.Parser(
        description="Make the key that updates of nodes are signed with.",
        epilog=f"Environment: {PASSPHRASE}, for --passphrase.",
    )
    parser.add_argument("--key", type=Path, help="where to; ~/.config/dormouse/owner.pem")
    parser.add_argument("--bits", type=int, default=2048, choices=BITS, help="%(default)s")
    parser.add_argument("--passphrase", action="store_true", help="ask for one, and encrypt it")
    options = parser.parse_args(argv)
    path = options.key or usual()
    try:
        phrase = None
        if options.passphrase:
            phrase = os.environ.get(PASSPHRASE) or getpass.getpass("new passphrase: ")
            if not phrase:
                raise CannotSign("no passphrase was given")
            if PASSPHRASE not in os.environ and getpass.getpass("once more: ") != phrase:
                raise CannotSign("that was another one")
        make(path, options.bits, phrase)
    except CannotSign as error:
        print(face.words(f"ota-key: {error}"), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\ninterrupted: no key was made", file=sys.stderr)
        return 130
    print(f"{path}: the private key; keep a copy of it in a safe place, and give it to nobody")
    beside = path.with_suffix(".pub.pem")
    print(face.words(f"{beside}: the public key, which make provision puts onto nodes"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
