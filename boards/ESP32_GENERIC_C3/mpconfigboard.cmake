# MicroPython's own board of this name, with dormouse frozen in. The name stands here once more, so
# that a copy of this folder under another name still builds for this board.
include(boards/ESP32_GENERIC_C3/mpconfigboard.cmake)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
