"""Gives a connect too little time; then nothing of it may go on."""

import asyncio

from device import client, run, say


async def main():
    c = client()
    try:
        await asyncio.wait_for(c.connect(), 0.3)
    except asyncio.TimeoutError:
        say("timeout")
    await asyncio.sleep(0.2)
    say("end")


run(main)
