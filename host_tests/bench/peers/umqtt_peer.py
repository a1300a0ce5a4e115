"""umqtt.simple, whose simple.py lies in a folder umqtt on the path."""

import sys

from umqtt.simple import MQTTClient

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30
case, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MQTTClient("bench", "127.0.0.1", port)
client.set_callback(lambda topic, message: None)
client.connect()
if case in ("pub0", "pub1"):
    qos = int(case[3])
    for _ in range(n):
        client.publish(TOPIC, PAYLOAD, qos=qos)
elif case == "pub1x20":
    print("it has one in flight")
    sys.exit(3)
else:
    client.subscribe("abc")
    for _ in range(n):
        client.wait_msg()
client.disconnect()
