# What tools/setup/emulated.py adds to MicroPython's qemu port: see port.c.
SRC_USERMOD_C += $(USERMOD_DIR)/port.c
CFLAGS_USERMOD += -I$(USERMOD_DIR)
SRC_THIRDPARTY_C += shared/timeutils/timeutils.c
