// What MicroPython's qemu port lacks for our programs: a clock, a count of instructions, an exit
// status, and a second serial line that asyncio can poll. Module `chip`.

#include <stdlib.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"

// --- the count: 1 instruction is 1 ns of the machine's clock under -icount shift=0

#if defined(QEMU_SOC_MPS2)

// CMSDK APB timer 0, which counts down at 25 MHz: 40 instructions a tick.
typedef struct {
    volatile uint32_t CTRL;
    volatile uint32_t VALUE;
    volatile uint32_t RELOAD;
} cmsdk_timer_t;

#define TIMER0 ((cmsdk_timer_t *)(0x40000000))

static uint64_t ticks; // that were counted off
static uint32_t last; // VALUE at that time

static uint64_t nanoseconds(void) {
    if (!TIMER0->CTRL) {
        TIMER0->RELOAD = last = 0xffffffff;
        TIMER0->VALUE = 0xffffffff;
        TIMER0->CTRL = 1;
    }
    uint32_t now = TIMER0->VALUE; // once in 171 s at least, or a turn is missed
    ticks += last - now;
    last = now;
    return ticks * 40;
}

// So that the same program counts the same whenever it is started: a tick begins here.
static void align(void) {
    nanoseconds();
    TIMER0->VALUE = last = 0xffffffff;
}

static uint64_t instructions(void) {
    return nanoseconds();
}

#else // RISC-V's virt machine: mtime at 10 MHz, and a counter of instructions in the core

#define MTIME ((volatile uint32_t *)(0x0200bff8))

static uint64_t nanoseconds(void) {
    uint32_t high, low;
    do {
        high = MTIME[1];
        low = MTIME[0];
    } while (high != MTIME[1]);
    return ((uint64_t)high << 32 | low) * 100;
}

static void align(void) {
}

static uint64_t instructions(void) {
    uint32_t high, low, again;
    do {
        __asm__ volatile ("csrr %0, minstreth" : "=r" (high));
        __asm__ volatile ("csrr %0, minstret" : "=r" (low));
        __asm__ volatile ("csrr %0, minstreth" : "=r" (again));
    } while (high != again);
    return (uint64_t)high << 32 | low;
}

#endif

mp_uint_t mp_hal_ticks_ms(void) {
    return nanoseconds() / 1000000;
}

mp_uint_t mp_hal_ticks_us(void) {
    return nanoseconds() / 1000;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return instructions();
}

uint64_t mp_hal_time_ns(void) {
    return 1767225600000000000ULL + nanoseconds(); // since 2026 began
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t until = nanoseconds() + us * 1000ULL;
    while (nanoseconds() < until) {
        mp_event_handle_nowait();
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    while (ms--) {
        mp_hal_delay_us(1000);
    }
}

static mp_obj_t chip_align(void) {
    align();
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(chip_align_obj, chip_align);

static mp_obj_t chip_count(void) {
    return MP_OBJ_NEW_SMALL_INT(instructions() & 0x3fffffff);
}
static MP_DEFINE_CONST_FUN_OBJ_0(chip_count_obj, chip_count);

// Of the machine's memory, beside what the firmware takes of it: where QEMU puts the program, and
// the disk.
#if defined(QEMU_SOC_MPS2)
#define MEMORY (0x21000000) // 16 MiB PSRAM
#else
#define MEMORY (0x81000000) // of 128 MiB
#endif

static mp_obj_t chip_memory(mp_obj_t start, mp_obj_t size) {
    return mp_obj_new_bytearray_by_ref(mp_obj_get_int(size), (void *)(MEMORY + mp_obj_get_int(start)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(chip_memory_obj, chip_memory);

static mp_obj_t chip_exit(mp_obj_t status) {
    exit(mp_obj_get_int(status));
}
static MP_DEFINE_CONST_FUN_OBJ_1(chip_exit_obj, chip_exit);

// --- the second serial line

#if defined(QEMU_SOC_MPS2)

typedef struct {
    volatile uint32_t DATA;
    volatile uint32_t STATE;
    volatile uint32_t CTRL;
    volatile uint32_t INTSTATUS;
    volatile uint32_t BAUDDIV;
} cmsdk_uart_t;

#define UART1 ((cmsdk_uart_t *)(0x40005000))
#define TXFULL (1)
#define RXFULL (2)

static mp_obj_t line_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    UART1->BAUDDIV = 16;
    UART1->CTRL = 3;
    return MP_OBJ_FROM_PTR(mp_obj_malloc(mp_obj_base_t, type));
}

static mp_uint_t line_read(mp_obj_t self, void *buf, mp_uint_t size, int *errcode) {
    uint8_t *p = buf;
    while (p < (uint8_t *)buf + size && UART1->STATE & RXFULL) {
        *p++ = UART1->DATA;
    }
    if (p == buf) {
        *errcode = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return p - (uint8_t *)buf;
}

static mp_uint_t line_write(mp_obj_t self, const void *buf, mp_uint_t size, int *errcode) {
    const uint8_t *p = buf;
    while (p < (const uint8_t *)buf + size && !(UART1->STATE & TXFULL)) {
        UART1->DATA = *p++;
    }
    if (p == buf) {
        *errcode = MP_EAGAIN;
        return MP_STREAM_ERROR;
    }
    return p - (const uint8_t *)buf;
}

static mp_uint_t line_ioctl(mp_obj_t self, mp_uint_t request, uintptr_t arg, int *errcode) {
    if (request != MP_STREAM_POLL) {
        *errcode = MP_EINVAL;
        return MP_STREAM_ERROR;
    }
    mp_uint_t state = UART1->STATE;
    return arg & ((state & RXFULL ? MP_STREAM_POLL_RD : 0) | (state & TXFULL ? 0 : MP_STREAM_POLL_WR));
}

static const mp_stream_p_t line_stream = {
    .read = line_read,
    .write = line_write,
    .ioctl = line_ioctl,
};

static const mp_rom_map_elem_t line_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mp_stream_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_readinto), MP_ROM_PTR(&mp_stream_readinto_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mp_stream_write_obj) },
};
static MP_DEFINE_CONST_DICT(line_locals, line_locals_table);

static MP_DEFINE_CONST_OBJ_TYPE(
    line_type,
    MP_QSTR_Line,
    MP_TYPE_FLAG_NONE,
    make_new, line_make_new,
    protocol, &line_stream,
    locals_dict, &line_locals
    );

#endif

// --- the module

static const mp_rom_map_elem_t chip_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_chip) },
    { MP_ROM_QSTR(MP_QSTR_align), MP_ROM_PTR(&chip_align_obj) },
    { MP_ROM_QSTR(MP_QSTR_count), MP_ROM_PTR(&chip_count_obj) },
    { MP_ROM_QSTR(MP_QSTR_memory), MP_ROM_PTR(&chip_memory_obj) },
    { MP_ROM_QSTR(MP_QSTR_exit), MP_ROM_PTR(&chip_exit_obj) },
    #if defined(QEMU_SOC_MPS2)
    { MP_ROM_QSTR(MP_QSTR_Line), MP_ROM_PTR(&line_type) },
    #endif
};
static MP_DEFINE_CONST_DICT(chip_globals, chip_globals_table);

const mp_obj_module_t chip_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&chip_globals,
};

MP_REGISTER_MODULE(MP_QSTR_chip, chip_module);
