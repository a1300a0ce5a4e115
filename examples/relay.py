"""A relay that toggles once for each command, whatever is cut: power, network, in any moment.

A command at QoS 2 is delivered once. That is not enough: the power may go after the relay was
toggled and before the broker knows. So the new position goes into the store in one record with the
mark that the command is done with, and the relay is set from what the store says. Cut before that
record, the command comes again and meets the old position; cut after it, it does not come again.

    mosquitto_pub -q 2 -t greenhouse/7/toggle -n
"""

import asyncio

from dormouse.field.config import load, make_client, make_store, make_wifi
from dormouse.sleep import Node
from machine import Pin

RELAY = Pin(2, Pin.OUT)


async def main():
    config = load()
    store = make_store(config)
    client = make_client(config, clean=False, store=store)
    filters = ((config["topic"] + "/toggle", 2),)
    wifi = make_wifi(config, store)
    node = Node(client, config.get("period", 60), subscribe=filters, wifi=wifi)
    on = client.session.committed == b"on"
    RELAY.value(on)
    print("the relay is", "on" if on else "off")
    async for command in node.wake():
        on = not on
        command.ack(b"on" if on else b"off")  # one record: the position, and that this is done
        RELAY.value(on)
        print("toggled", "on" if on else "off")
    if node.error:
        print("error", repr(node.error))
    node.sleep()


asyncio.run(main())
