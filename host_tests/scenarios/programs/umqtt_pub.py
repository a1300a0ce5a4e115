"""A program for umqtt.simple, of the kind that its users write; only the import is another.

umqtt_pub.py PORT
"""

import sys

from dormouse.compat.umqtt import MQTTClient

SERVER = "127.0.0.1"
PORT = int(sys.argv[1])


def main():
    c = MQTTClient("umqtt_pub", SERVER, PORT)
    c.connect()
    c.publish(b"u/temp", b"21.5")
    c.publish(b"u/count", b"1", False, 1)
    c.publish(b"u/state", b"kept", True, 1)
    c.disconnect()
    print("published")


main()
