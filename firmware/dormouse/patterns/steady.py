"""What keeps a program going, whatever one message or one refusal says.

command = fields(message.payload)                   # a dict, whatever came
await at_each(client, hello)                        # at each connection, for ever
"""

import asyncio
import json

from ..packet import MQTTError, OutboxFull


def fields(payload) -> dict:
    """Return the JSON object that a payload is; {} for all else: no JSON, no object, more than
    there is memory for, a number that JSON cannot write (1e999: kept, it would not be read again).
    """
    try:
        found = json.loads(payload)
        if isinstance(found, dict):
            values = [found]
            for value in values:
                if isinstance(value, dict):
                    values.extend(value.values())
                elif isinstance(value, list):
                    values.extend(value)
                elif isinstance(value, float) and value - value:  # none is 0 but for these
                    break
            else:
                return found
    except Exception:  # MemoryError; on CPython RecursionError
        pass
    return {}


async def at_each(client, say) -> None:
    """Await ``say()`` at each connection, for ever. Raises what ends the client, and for a mistake
    ValueError or TypeError.

    Without room in the outbox, which is full after an outage, it is tried again in a second. What
    the broker refuses is told as trouble (``client.session.trouble``), and tried at the next
    connection.
    """
    while True:
        await client.wait_connected()
        try:
            await say()
        except OutboxFull:
            await asyncio.sleep(1)
            continue
        except MQTTError as e:
            if client._task:  # else that is the end, which ``wait_connected`` raises
                client.session._tell(e)
        await client.wait_connected(False)
