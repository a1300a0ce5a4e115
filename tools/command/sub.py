"""dormouse sub: subscribe, and print what comes."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dormouse import Client, ConnectionLost, Message, MQTTError

from ..amounts import at_least_one, positive, utf8
from .shared import connection, formats, output
from .shared.failure import DONE, LATE, Failure

EXAMPLES = """
examples:
  dormouse sub -h broker.local -t 'greenhouse/#' -v
  dormouse sub -t greenhouse/7/temp -C 1 -W 10                    # one message, 10 s at most
  dormouse sub -t 'greenhouse/+/temp' -F '%I %t %p'               # a format, as in mosquitto_sub
  dormouse sub -t 'greenhouse/#' --json | jq .payload
  dormouse sub -t greenhouse/7/cmd -q 2 -i desk -c                # what came meanwhile, too
  dormouse sub -t '$SYS/#' --retained-only -W 1 -v

A message is acknowledged when it has been printed. A connection that is lost is made again.

{formats}
exit status: 0 what was asked has come; 1 it could not, with the reason; 2 wrong arguments;
3 -W was over before -C messages (without -C: any) had come; 130 interrupted
"""
HANDLING = {"always": 0, "new": 1, "never": 2}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="dormouse sub",
        description="Subscribe, and print what comes.",
        epilog=EXAMPLES.replace("{formats}", formats.HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    what = parser.add_argument_group("what")
    what.add_argument("-t", "--topic", type=utf8, metavar="FILTER", action="append", default=[])
    what.add_argument(
        "-T",
        "--filter-out",
        type=utf8,
        metavar="FILTER",
        action="append",
        default=[],
        help="not these",
    )
    what.add_argument(
        "-U", "--unsubscribe", type=utf8, metavar="FILTER", action="append", default=[]
    )
    what.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=0, help="at most")
    what.add_argument("-R", "--no-retained", action="store_true", help="nothing that was retained")
    what.add_argument("--retained-only", action="store_true", help="nothing else")
    what.add_argument("--remove-retained", action="store_true", help="remove what is retained")
    what.add_argument("--no-local", action="store_true", help="not one's own (MQTT 5)")
    what.add_argument("--retain-as-published", action="store_true", help="MQTT 5")
    what.add_argument("--retain-handling", choices=HANDLING, default="always", help="MQTT 5")
    until = parser.add_argument_group("until")
    until.add_argument("-C", "--count", type=at_least_one, metavar="N", help="so many messages")
    until.add_argument("-W", "--timeout", type=positive, metavar="S", help="so long")
    until.add_argument(
        "-E",
        "--exit-subscribed",
        action="store_true",
        help="subscribe and end (with -c the broker begins to keep)",
    )
    shape = parser.add_argument_group("output")
    shape.add_argument("-v", "--verbose", action="store_true", help="topic and payload")
    shape.add_argument("-F", "--format", type=utf8, metavar="FORMAT", help="see below")
    shape.add_argument("-N", "--no-newline", action="store_true", help="payloads as they are")
    shape.add_argument("--json", action="store_true", help="a JSON document for each message")
    connection.add_options(parser)
    parser.add_argument_group("other").add_argument("--help", action="help", help="this text")
    options = parser.parse_args(argv)
    connection.resolve(options)
    if not (options.topic or options.unsubscribe):
        parser.error("-t FILTER is missing")
    if options.format:
        formats.check(options.format)
    return options


def template(options: argparse.Namespace) -> str:
    """Return the format that the options ask for."""
    if options.json:
        return "%j\n"
    chosen: str = options.format or ("%t %p" if options.verbose else "%p")
    return chosen if options.no_newline else chosen + "\n"


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a topic filter matches a topic (section 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in ("+", levels[i]):
            return False
    return len(wanted) == len(levels)


def wanted(message: Message, options: argparse.Namespace) -> bool:
    """Tell whether a message is to be printed."""
    if options.no_retained if message.retain else options.retained_only:
        return False
    return not any(matches(f, message.topic) for f in options.filter_out)


def arrived(message: Message) -> formats.Arrived:
    """Return what is printed of a message."""
    return formats.Arrived(
        message.topic,
        message.payload,
        message.qos,
        message.retain,
        getattr(message, "pid", 0),
        getattr(message, "properties", {}),
        datetime.now().astimezone(),
    )


def subscribe_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what goes with SUBSCRIBE. Raises Failure where it is MQTT 5's."""
    asked = {
        "no_local": options.no_local,
        "retain_as_published": options.retain_as_published,
        "retain_handling": HANDLING[options.retain_handling],
    }
    asked = {name: value for name, value in asked.items() if value}
    if asked and options.version != 5:
        raise Failure(f"{next(iter(asked))} is MQTT 5's", "say -V 5", 2)
    return {**asked, **options.properties.of("subscribe")}


async def prepare(client: Client, options: argparse.Namespace) -> None:
    """Unsubscribe and subscribe. Raises what the client raises."""
    if options.unsubscribe:
        more = options.properties.of("unsubscribe")
        await client.unsubscribe(*options.unsubscribe, **more)
    if options.topic:
        await client.subscribe(*options.topic, qos=options.qos, **subscribe_options(options))


async def receive(client: Client, options: argparse.Namespace) -> int:
    """Print messages, for ever or as many as were asked for; return how many they were."""
    shape = template(options)
    printed = 0
    async for message in client.messages:
        if not wanted(message, options):
            continue
        output.write(formats.render(shape, arrived(message)))
        printed += 1
        options.seen = printed
        if options.remove_retained and message.retain:
            await client.publish(message.topic, b"", qos=max(options.qos, 1), retain=True)
        if printed == options.count:
            message.ack()
            break
    return printed


async def run(options: argparse.Namespace) -> int:
    """Connect, subscribe and print; return the exit status. Raises Failure."""
    options.seen = 0
    subscribe_options(options)
    subscribed = False
    try:
        async with (
            asyncio.timeout(options.timeout),
            connection.connected(options, "sub") as client,
        ):
            await prepare(client, options)
            subscribed = True
            if options.topic and not options.exit_subscribed:
                await receive(client, options)
    except TimeoutError:
        if not subscribed:  # that nothing came is no word of what there is
            output.note(f"dormouse sub: not subscribed within {options.timeout:g} s")
        return DONE if options.seen and not options.count else LATE
    except (MQTTError, OSError, ValueError, TypeError) as error:
        if isinstance(error, ConnectionLost) and not client.error:
            return DONE
        raise connection.explain(error, options) from error
    return DONE


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    return asyncio.run(run(arguments(argv)))
