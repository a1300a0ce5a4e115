# MicroPython's own board of this name, with dormouse frozen in. The name stands here once more, so
# that a copy of this folder under another name still builds for this board.
include(boards/RPI_PICO_W/mpconfigboard.cmake)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
set(MICROPY_BOARD_PINS ${CMAKE_CURRENT_SOURCE_DIR}/boards/RPI_PICO_W/pins.csv) # MicroPython 1.25
