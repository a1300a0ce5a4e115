"""dormouse pub: publish a message, a file, lines of stdin."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from dormouse import Client, MQTTError

from ..amounts import at_least_one, positive, real, utf8
from .shared import connection, output
from .shared.failure import DONE, LATE, WRONG, Failure
from .shared.lines import lines

IN_FLIGHT = 100  # messages that wait for their acknowledgements together

EXAMPLES = """
examples:
  dormouse pub -h broker.local -t greenhouse/7/cmd -m on -q 2
  dormouse pub -t greenhouse/7/config -f config.json -r          # a file, retained
  sensor | dormouse pub -t greenhouse/7/temp -l -q 1             # a message for each line
  dormouse pub -L mqtts://user@broker.local/greenhouse/7/cmd -m on --cafile ca.pem
  dormouse pub -t greenhouse/7/temp -n -r                        # remove what is retained there
  dormouse pub -V 5 -t a -m x -D publish content-type text/plain -D publish user-property unit C

It returns when the broker has acknowledged everything (QoS 1: PUBACK, QoS 2: PUBCOMP); at QoS 0
nobody says whether it came. A connection that is lost is made again, for as long as -W lets it.

exit status: 0 acknowledged, or sent at QoS 0; 1 not, with the reason; 2 wrong arguments; 3 -W was
over; 130 interrupted
"""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="dormouse pub",
        description="Publish a message, a file, lines of stdin.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    message = parser.add_argument_group("message")
    message.add_argument("-t", "--topic", type=utf8, metavar="TOPIC")
    source = message.add_mutually_exclusive_group()
    source.add_argument("-m", "--message", metavar="TEXT", help="the payload")
    source.add_argument("-f", "--file", metavar="FILE", type=Path, help="a file as the payload")
    source.add_argument("-l", "--stdin-line", action="store_true", help="a message for each line")
    source.add_argument("-s", "--stdin-file", action="store_true", help="all of stdin as one")
    source.add_argument("-n", "--null-message", action="store_true", help="no payload")
    message.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=0)
    message.add_argument(
        "-r", "--retain", action="store_true", help="the broker keeps the last one"
    )
    message.add_argument(
        "--repeat", type=at_least_one, default=1, metavar="N", help="send it N times"
    )
    message.add_argument("--repeat-delay", type=real(), default=0, metavar="S", help="in between")
    connection.add_options(parser)
    other = parser.add_argument_group("other")
    other.add_argument("-W", "--timeout", type=positive, metavar="S", help="give up after so long")
    other.add_argument("-v", "--verbose", action="store_true", help="say what was sent")
    other.add_argument("--json", action="store_true", help="say it for a program")
    other.add_argument("--help", action="help", help="this text")
    options = parser.parse_args(argv)
    connection.resolve(options)
    if not options.topic:
        parser.error("-t TOPIC is missing")
    sources = (options.message, options.file, options.stdin_line, options.stdin_file)
    if sources == (None, None, False, False) and not options.null_message:
        parser.error("what to send? one of -m -f -l -s -n")
    if options.stdin_line and options.repeat != 1:
        parser.error("--repeat goes with one message")
    return options


async def payloads(options: argparse.Namespace) -> AsyncIterator[bytes]:
    """Give what is to be sent. Raises Failure."""
    if options.stdin_line:
        async for line in lines():
            yield line
        return
    try:
        if options.file:
            data = options.file.read_bytes()
        elif options.stdin_file:
            data = await asyncio.to_thread(sys.stdin.buffer.read)
        else:
            data = connection.payload(options.message or "")
    except OSError as error:
        raise Failure(f"{options.file}: {error.strerror}", status=WRONG) from error
    for number in range(options.repeat):
        if number and options.repeat_delay:
            await asyncio.sleep(options.repeat_delay)
        yield data


class Tally:
    """What was sent, and what the broker said (reason codes of MQTT 5)."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.codes: set[int] = set()
        self.began = time.monotonic()

    def sentence(self, qos: int) -> str:
        """Return it for a person."""
        messages = "1 message" if self.messages == 1 else f"{self.messages:,} messages"
        size = "1 byte" if self.bytes == 1 else f"{self.bytes:,} bytes"
        end = "acknowledged" if qos else "sent: at QoS 0 the broker acknowledges nothing"
        return f"{messages}, {size}, QoS {qos}, {end}"

    def as_dict(self, options: argparse.Namespace) -> dict[str, object]:
        """Return it for --json."""
        return {
            "topic": options.topic,
            "qos": options.qos,
            "retain": options.retain,
            "messages": self.messages,
            "bytes": self.bytes,
            "seconds": round(time.monotonic() - self.began, 3),
            "reasons": sorted(reason_text(code) for code in self.codes),
        }


def reason_text(code: int) -> str:
    """Return the words of a reason code."""
    from dormouse.reason import text

    return text(code)


async def send(client: Client, options: argparse.Namespace, tally: Tally) -> None:
    """Publish everything, many in flight, in order; return when all is acknowledged."""
    room = asyncio.Semaphore(IN_FLIGHT)
    more = options.properties.of("publish")

    async def one(data: bytes) -> None:
        try:
            code = await client.publish(
                options.topic, data, qos=options.qos, retain=options.retain, **more
            )
            tally.messages += 1
            tally.bytes += len(data)
            if code:
                tally.codes.add(code)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for data in payloads(options):
                await room.acquire()
                group.create_task(one(data))
    except ExceptionGroup as all_of_them:
        raise all_of_them.exceptions[0] from None


async def run(options: argparse.Namespace) -> int:
    """Connect and publish; return the exit status. Raises Failure."""
    tally = Tally()
    try:
        async with (
            asyncio.timeout(options.timeout),
            connection.connected(options, "pub") as client,
        ):
            await send(client, options, tally)
    except TimeoutError:
        output.note(f"dormouse pub: {tally.messages} acknowledged within {options.timeout:g} s")
        return LATE
    except (MQTTError, OSError, ValueError, TypeError) as error:
        raise connection.explain(error, options) from error
    if options.json:
        output.print_json(tally.as_dict(options))
    elif options.verbose:
        for code in tally.codes:
            output.note(reason_text(code))
        print(tally.sentence(options.qos))
    return DONE


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    return asyncio.run(run(arguments(argv)))
