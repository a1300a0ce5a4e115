"""chumicro-mqtt, driven by its runner, on MicroPython and on CPython."""

import sys

from chumicro_mqtt import MQTTClient
from chumicro_runner import Runner
from chumicro_sockets.sockets_factory import fixed_connector_factory

TOPIC = "greenhouse/7/temp/in"
PAYLOAD = b"x" * 30
case, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MQTTClient(
    transport_factory=fixed_connector_factory("127.0.0.1", port),
    client_id="bench",
    rx_buffer_size=2048,  # 256 else: 1 KiB would be dropped
)
runner = Runner()
runner.add(client)
came = wanted = 0


def one(*_):
    global came
    came += 1


def there():
    return came >= wanted


client.on_connect = one
client.connect()
wanted = 1
runner.run_until(there)
came = wanted = 0
if case == "pub0":
    for _ in range(n):
        client.publish(TOPIC, PAYLOAD)
        runner.tick()  # one packet goes
elif case == "pub1":
    client.on_publish = one
    for _ in range(n):
        wanted += 1
        client.publish(TOPIC, PAYLOAD, qos=1)
        runner.run_until(there)
elif case == "pub1x20":
    client.on_publish = one
    for _ in range(n // 20):
        wanted += 20
        for _ in range(20):
            client.publish(TOPIC, PAYLOAD, qos=1)
        runner.run_until(there)
else:
    client.on_message = one
    client.subscribe("abc")
    wanted = n
    runner.run_until(there)
client.disconnect()
