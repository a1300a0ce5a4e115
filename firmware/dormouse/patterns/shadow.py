"""A device shadow, as AWS IoT has it: what an application desires, what the device reports.

    shadow = Shadow(node.publish, "greenhouse-7", store=store)
    node.subscribe = shadow.filters
    shadow.get()                                        # at each start: what was missed
    async for message in node.wake():
        for name, value in (shadow.take(message) or {}).items():
            settings[name] = value                      # what is desired, and is not so yet
            shadow.report({name: value})
        shadow.done({16: json.dumps(settings)})

https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html; sans-IO.
"""

import json
from binascii import crc32

from micropython import const

from ..packet import MQTTError
from .steady import fields

_TRIES = const(3)  # conflicts that a report may meet


class Shadow:
    """The shadow of ``thing``; with ``name`` a named one, else the classic one.

    ``publish``: ``client.publish_nowait`` or ``node.publish``. ``store``, ``key``: keep the version
    that was dealt with, so that no older one is after a reset. ``filters``: pairs to subscribe to.

    ``version``: the last that is known, 0: none. ``error``: why the last request was rejected, as
    (code, text), or None. A document with its metadata takes up to 8 KB and more: give the client a
    ``max_packet`` for it.
    """

    def __init__(self, publish, thing: str, name: str = "", store=None, key: int = 0x103) -> None:
        self.publish = publish
        self.base = "$aws/things/%s/shadow/%s" % (thing, "name/%s/" % name if name else "")
        # The same after a reset: an answer may come in the next wake. (64 at most, with a mark.)
        self.token = thing[:55]
        self.store = store
        self.key = key
        kept = store.data.get(key) if store else None
        self.version = self._kept = int.from_bytes(kept, "big") if kept else 0
        self.error = None
        self._asked = None  # the last get
        self._again = None  # what is reported with ``check``, and no answer says that it is there
        self._mark = ""  # what follows the token in the answer that will
        self._left = 0  # how many conflicts it may meet yet
        self._given = self.version  # what is desired of this one was given since the last get
        self.filters = tuple(
            (self.base + part, 1)
            for part in (
                "get/accepted",
                "get/rejected",
                "update/delta",
                "update/accepted",
                "update/rejected",
            )
        )

    def get(self):
        """Ask for the whole shadow. Returns the Message of the request; raises what ``publish``
        raises."""
        self._given = None
        self._asked = self.publish(self.base + "get", json.dumps({"clientToken": self.token}), 1)
        return self._asked

    def report(self, state: dict | None, desired=False, check: bool = False):
        """Say what is. None as a value removes its name.

        ``desired``: what is desired from now on (None: nothing), for a change that was made at the
        device itself. ``check``: only if the shadow is still of the ``version`` known here; if not,
        it is asked for, and reported again on top of it. What was reported so and has no answer yet
        goes with the next one, for each that is accepted changes the version. Returns the Message
        of the request; raises what ``publish`` raises.
        """
        document = {"reported": state}
        if desired is not False:
            document["desired"] = desired
        again = self._again
        if check or again:  # (what is not checked is not to be taken back by what is repeated)
            again = _merge(again, document)
        o = self._update(again if check else document, check)
        self._again = again
        if check:
            self._left = _TRIES
        return o

    def take(self, message) -> dict | None:
        """Take a message that came. Returns what is desired and not reported, {} if nothing is new;
        None if it is no message of this shadow. What is not understood is passed over."""
        if (message.topic, 1) not in self.filters:
            return None
        kind = message.topic[len(self.base) :]
        document = fields(message.payload)
        found = {}
        try:
            if kind == "update/delta":
                version = _version(document)
                state = dict(document["state"].items())
                if version > self.version or version == self.version != self._given:
                    # (What accepts a report has this version, too, and says not what is left.)
                    self.version = self._given = version
                    found = state
                elif version < self.version and getattr(self._asked, "done", True):
                    # It came before, or a newer one did; or the shadow was deleted meanwhile. (One
                    # at a time: whoever says so again and again would fill the outbox by that.)
                    self.get()
                return found
            token, _, mark = document["clientToken"].partition("#")
            if token != self.token:
                return found  # somebody else asked
            again = self._again
            mine = mark == self._mark  # else an earlier one, and the last has it all
            if kind == "get/accepted":
                # The truth, also if its version is lower: the shadow was deleted meanwhile.
                version = _version(document)
                state = dict((document["state"].get("delta") or {}).items())
                self.version = version
                self.error = None
                if version != self._given:
                    self._given = version
                    found = state
                if again:
                    self._update(again, True)
            elif kind == "update/accepted":
                self.version = max(self.version, _version(document))
                self.error = None
                if mine:
                    self._again = None
            else:
                self.error = document.get("code"), document.get("message")
                if self.error[0] == 404:  # there is none yet; the first report makes it
                    self.version = 0
                elif again and mine:
                    if self.error[0] != 409 or not self._left:
                        self._again = None  # it would be rejected again
                    else:  # a version conflict: see what it is now
                        self._left -= 1
                        self.get()
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # nonsense
        except (MQTTError, OSError, MemoryError):
            pass  # no room to ask, in the outbox, on the flash or in RAM: with the next answer
        return found

    def done(self, changes=None) -> None:
        """Note that all that ``take`` returned is done, in one record with ``changes`` of the
        application's own keys (16 to 255). Raises OSError or StoreFull."""
        new = dict(changes or {})
        version = self.version
        if version != self._kept:
            new[self.key] = version.to_bytes(4, "big")
        if self.store:
            self.store.save(new)
        self._kept = version

    def _update(self, document, check):
        text = '{"state": ' + json.dumps(document)
        token = self.token
        mark = self._mark
        if check:
            text += ', "version": %d' % self.version
            # By what it says: the answer to the same in an earlier life is as good.
            mark = "%08x" % crc32(text.encode())
            token += "#" + mark
        text += ', "clientToken": %s}' % json.dumps(token)
        o = self.publish(self.base + "update", text, 1)
        self._mark = mark
        return o


def _merge(old, new):
    # What comes of the one and then the other, as the service merges them.
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    both = dict(old)
    for name in new:
        both[name] = _merge(old.get(name), new[name])
    return both


def _version(document):
    version = document["version"]
    if not isinstance(version, int) or not 0 <= version < 1 << 32:
        raise ValueError(version)
    return version
