"""umqtt.simple beside chip_program.py: the same operations where it has them; its socket is faked,
and takes and gives bytes at no cost."""

import sys

from chip_measure import PAYLOAD, TOPIC, measure, nothing


class Socket:
    """What is read from it, over and over."""

    at = 0
    data = b""

    def write(self, data, n=None):
        pass

    def read(self, n):
        at = self.at
        self.at = (at + n) % len(self.data)
        return self.data[at : at + n]

    def setblocking(self, on):
        pass


class Sockets:
    """In the place of the module, which an emulated chip has not."""

    socket = Socket


sys.modules["socket"] = Sockets
from simple import MQTTClient  # noqa: E402 - umqtt/simple.py

measure("(nothing)", nothing)
client = MQTTClient("node-7", "host")
client.set_callback(lambda topic, message: None)
sock = client.sock = Socket()
measure("publish, QoS 0", lambda: client.publish(TOPIC, PAYLOAD))


answer = bytearray(b"\x40\x02\x00\x00")


def first():
    pid = client.pid + 1
    answer[2] = pid >> 8
    answer[3] = pid & 255
    sock.data = answer
    client.publish(TOPIC, PAYLOAD, qos=1)


measure("publish, QoS 1 to PUBACK", first)
topic = bytes((0, len(TOPIC))) + TOPIC.encode()
sock.data = bytes((0x30, len(topic) + 30)) + topic + PAYLOAD
measure("receive, QoS 0", client.wait_msg)
sock.data = bytes((0x32, len(topic) + 32)) + topic + b"\x00\x07" + PAYLOAD
measure("receive, QoS 1, and PUBACK", client.wait_msg)
n = len(topic) + 1024
sock.data = bytes((0x30, n & 127 | 128, n >> 7)) + topic + b"x" * 1024
measure("receive, QoS 0, 1 KiB", client.wait_msg)
