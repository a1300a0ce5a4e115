"""What keeps a program going, whatever one message or one refusal says.

command = fields(message.payload)                   # a dict, whatever came
await at_each(client, hello)                        # at each connection, for ever
"""

import asyncio
import json

from micropython import const

from ..packet import MQTTError, OutboxFull

_DEPTH = const(16)  # levels: ``str`` and ``json.dumps`` go down by the chip's stack, of some 8 KB


def fields(payload) -> dict:
    """Return the JSON object that a payload is; {} for all else: no JSON, no object, more than
    there is memory for, nested deeper than 16 levels (to write that again could end the program), a
    number that JSON cannot write (1e999: kept, it would not be read again).
    """
    try:
        found = json.loads(payload)
        if not isinstance(found, dict):
            return {}
        values = [found]
        for _ in range(_DEPTH + 1):  # what is in the last of them, too
            inner = []
            for value in values:
                if isinstance(value, dict):
                    inner.extend(value.values())
                elif isinstance(value, list):
                    inner.extend(value)
                elif isinstance(value, float) and value - value:  # none is 0 but for these
                    return {}
            if not inner:
                return found
            values = inner
    except Exception:  # MemoryError; on CPython RecursionError
        pass
    return {}


async def at_each(client, say) -> None:
    """Await ``say()`` at each connection, until the client's owner disconnects it. Raises what else
    ends the client, and for a mistake ValueError or TypeError.

    Without room in the outbox, which is full after an outage, in memory or on the store's flash, it
    is tried again in a second. What the broker refuses is told as trouble
    (``client.session.trouble``), and tried at the next connection.
    """
    while True:
        try:
            await client.wait_connected()
        except MQTTError:
            if client.error or not client._first:
                raise
            return  # its owner disconnected it
        try:
            await say()
        except (OutboxFull, MemoryError, OSError):  # OSError: the store's flash
            await asyncio.sleep(1)
            continue
        except MQTTError as e:
            if client._task:  # else that is the end, which ``wait_connected`` tells
                client.session._tell(e)
        await client.wait_connected(False)
