# What the firmware has frozen in: what MicroPython's port has, and dormouse.
include("$(PORT_DIR)/boards/manifest.py")
include("../../firmware/manifest.py")
