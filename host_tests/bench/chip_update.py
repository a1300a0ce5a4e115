"""Counts what it takes to verify an update's signature (dormouse.field.ota); runs on an emulated
chip, started by tools/desk/chip.py. A program of its own, so that it moves no other figure."""

from chip_measure import measure, nothing
from chip_signed import SIGNED, TEXT
from dormouse.field.ota import verify

measure("(nothing)", nothing)
for bits in sorted(SIGNED):
    key, signature = SIGNED[bits]
    assert verify(key, TEXT, signature) and not verify(key, TEXT + "0", signature)
    measure(
        "an update's signature, RSA-%d" % bits, lambda k=key, s=signature: verify(k, TEXT, s), 2
    )
