"""Instructions and bytes of an operation, on an emulated chip: for the programs beside this one."""

import gc

import chip

TOPIC = "greenhouse/7/temp/in"  # 20 bytes
PAYLOAD = b"x" * 30
empty = 0  # instructions of a call of nothing, and of the loop around it


def nothing():
    pass


def measure(name, operation, times=20):
    """Print what one call takes: the mean of some, after one that is not counted. An operation may
    return what it holds."""
    operation()
    gc.collect()
    before = gc.mem_alloc()
    held = operation()
    gc.collect()
    stays = gc.mem_alloc() - before
    del held
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    chip.align()
    start = chip.count()
    for _ in range(times):
        operation()
    count = chip.count() - start & 0x3FFFFFFF
    allocated = gc.mem_alloc() - before
    gc.enable()
    global empty
    if operation is nothing:
        empty = count // times
    print(name, count // times - empty, allocated // times, stays, sep="|")
