"""mqtt_as, whose folder is on the path; its Wi-Fi is always there."""

import asyncio
import sys

case, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class WLAN:
    def __init__(self, *_):
        pass

    def __getattr__(self, name):
        return lambda *_: True


class Network:
    STA_IF = 0
    STAT_CONNECTING = 1
    STAT_IDLE = 0
    WLAN = WLAN


class Machine:
    @staticmethod
    def unique_id():
        return b"bench"


sys.modules["network"] = Network
sys.modules["machine"] = Machine
from mqtt_as import MQTTClient, config  # noqa: E402

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30


async def main(n):
    config.update(server="127.0.0.1", port=port, ssid="s", wifi_pw="p", queue_len=64)
    client = MQTTClient(config)
    await client.connect(quick=True)
    if case in ("pub0", "pub1"):
        for _ in range(n):
            await client.publish(TOPIC, PAYLOAD, qos=int(case[3]))
    elif case == "pub1x20":
        for _ in range(n // 20):
            await asyncio.gather(*[client.publish(TOPIC, PAYLOAD, qos=1) for _ in range(20)])
    else:
        await client.subscribe("abc")
        if n:
            async for _ in client.queue:
                n -= 1
                if n <= client.queue.discards:
                    break
    await client.disconnect()


asyncio.run(main(n))
