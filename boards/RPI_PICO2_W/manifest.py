# What the firmware has frozen in: what MicroPython's port has for this board, and dormouse.
include("$(PORT_DIR)/boards/RPI_PICO2_W/manifest.py")
include("../../firmware/manifest.py")
