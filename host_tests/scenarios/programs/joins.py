"""Joins the Wi-Fi that its configuration names, says how, and soft-resets or sleeps."""

import asyncio
import json

import machine
import network
from dormouse.net import Wifi
from dormouse.sleep.chip import deepsleep, wake_reason
from dormouse.store import Journal

with open("config.json") as f:
    config = json.load(f)

print("boot", wake_reason(), "joined", network.WLAN().isconnected())
wifi = Wifi(config["ssid"], "secret", Journal("store"), renew=0)
asyncio.run(wifi.join(9000))
print("network", wifi.wlan.config("ssid"), wifi.wlan.ifconfig()[0])
if config.get("soft"):
    machine.soft_reset()
wifi.off()
deepsleep(60000)
