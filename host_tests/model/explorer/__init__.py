"""Every order of events that the shipped session can meet, up to stated bounds.

library.py    the firmware's own source as a package of its own, as it is or with a fault put in
snapshot.py   copies of a session, cheap and deep; and what tells two states apart
broker.py     a strict broker, written from the standards; and brokers seen in the wild
disk.py       files and a memory that lose their power at any byte, on any Python
medium.py     what a store is on: records; or such a disk
world.py      session, broker, what is under way, the application, the chip: what may happen
cases.py      bounds: how much of what may happen
search.py     breadth first over all of it; the shortest way to what must not be
record.py     a way as calls and what they gave; device.py repeats it, on any Python
story.py      such a way as packets to read; kept as a file, and played again
twins.py      faults of one line, each of which must be found
"""
