"""paho-mqtt, on CPython."""

import sys

import paho.mqtt.client as paho

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30
case, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "bench")
left = n


def message(*_):
    global left
    left -= 1


client.on_message = message
client.connect("127.0.0.1", port)
client.loop_start()
if case in ("pub0", "pub1"):
    for _ in range(n):
        client.publish(TOPIC, PAYLOAD, int(case[3])).wait_for_publish()
elif case == "pub1x20":
    for _ in range(n // 20):
        for info in [client.publish(TOPIC, PAYLOAD, 1) for _ in range(20)]:
            info.wait_for_publish()
else:
    client.loop_stop()
    client.subscribe("abc")
    while left > 0:
        client.loop(1)
client.disconnect()
client.loop_stop()
