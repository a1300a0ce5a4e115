"""Where the harness's brokers, proxies and scripted peers listen, and devices look for them.

Loopback for all tests on this machine; `make hil` names an address that a real board can reach.
"""

import os

HOST = os.environ.get("DORMOUSE_TEST_HOST", "127.0.0.1")
