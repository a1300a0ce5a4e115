// The configuration of MicroPython's qemu port, and what a chip's firmware has beside it: time,
// asyncio, files. In the place of mpconfigport.h (MP_CONFIGFILE).
#include <mpconfigport.h>

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#define MICROPY_PY_TIME_INCLUDEFILE "port_time.h"
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_EPOCH_IS_1970 (1)
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
#undef MICROPY_PY_ASYNCIO
#define MICROPY_PY_ASYNCIO (1)
#define MICROPY_MODULE_OVERRIDE_MAIN_IMPORT (1) // __import__(name, None, None, False) runs it as __main__
#define MICROPY_PY_HASHLIB_SHA256 (1)
