"""A program for umqtt.robust that says in its connect() that it is there, as its own example does.

robust_lwt.py PORT
"""

import sys
import time

from dormouse.compat import robust


class MyMQTTClient(robust.MQTTClient):
    def connect(self, clean_session=True):
        self.set_last_will(b"r/state", b"Offline", retain=True)
        try:
            return super().connect(clean_session)
        finally:
            self.publish(b"r/state", b"Online", retain=True)


c = MyMQTTClient("robust_lwt", "127.0.0.1", int(sys.argv[1]))
c.DEBUG = True
c.DELAY = 0.05
c.connect(False)
n = 0
while True:
    c.publish(b"r/n", str(n), qos=2)
    n += 1
    time.sleep(0.02)
