"""Authenticates by SCRAM-SHA-256 (RFC 5802, RFC 7677) inside MQTT 5.0's AUTH, both ways."""

import asyncio
from binascii import a2b_base64, b2a_base64, hexlify
from hashlib import sha256
from os import urandom

from device import client, config, run, say


def digest(data):
    return sha256(data).digest()


def xor(a, b):
    return bytes([x ^ y for x, y in zip(a, b)])


def hmac(key, data):
    key = key + bytes(64 - len(key))
    inner = digest(xor(key, b"\x36" * 64) + data)
    return digest(xor(key, b"\x5c" * 64) + inner)


def salted(password, salt, count):
    u = out = hmac(password, salt + b"\0\0\0\1")
    for _ in range(count - 1):
        u = hmac(password, u)
        out = xor(out, u)
    return out


def base64(data):
    return b2a_base64(data).strip()


class Scram:
    """The client's side: what ``auth`` of a Client calls."""

    done = 0

    def __call__(self, data):
        if data is None:
            self.proof = None
            self.bare = b"n=%s,r=%s" % (config["user"].encode(), hexlify(urandom(9)))
            return b"n,," + self.bare
        if self.proof is None:
            return self.answer(data)
        if data != b"v=" + base64(self.proof):
            raise ValueError("the server does not know the password")
        self.done += 1

    def answer(self, data):
        fields = {}
        for part in data.split(b","):
            fields[part[:1]] = part[2:]
        if not fields[b"r"].startswith(self.bare.split(b"r=")[1]):
            raise ValueError("nonce")
        key = salted(config["password"].encode(), a2b_base64(fields[b"s"]), int(fields[b"i"]))
        final = b"c=biws,r=" + fields[b"r"]
        whole = self.bare + b"," + data + b"," + final
        self.proof = hmac(hmac(key, b"Server Key"), whole)
        mine = hmac(key, b"Client Key")
        return final + b",p=" + base64(xor(mine, hmac(digest(mine), whole)))


async def main():
    method = Scram()
    c = client(auth=method)
    await c.connect()
    say("connected", method.done)
    for n in range(config.get("again", 0)):
        c.session.reauthenticate()
        while method.done < n + 2:
            if not c._task:
                raise c.error
            await asyncio.sleep(0.01)
        say("again", method.done)
    if config.get("cut"):
        await c.wait_connected(False)
        await c.wait_connected()
        say("reconnected", method.done)
    await c.disconnect()
    say("end")


run(main)
