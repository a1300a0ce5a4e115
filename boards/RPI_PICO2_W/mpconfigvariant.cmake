include(boards/RPI_PICO2_W/mpconfigvariant.cmake)
