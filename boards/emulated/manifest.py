# What is frozen into the firmware of an emulated chip: asyncio, as in that of any board, and what
# starts the program. The library comes with the program.
include("$(MPY_DIR)/extmod/asyncio")
module("start.py")
