"""dormouse request: ask by MQTT, and print the answer."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

from dormouse import Client, Message, MQTTError

from ..amounts import at_least_one, positive, utf8
from .shared import connection, formats, output
from .shared.failure import DONE, LATE, Failure
from .sub import arrived, template

EXAMPLES = """
examples:
  dormouse request -h broker.local -t lamp/3/get                # MQTT 5: a topic of its own
  dormouse request -t lamp/3/set -m on -W 5 && echo it is
  dormouse request -V 311 -t lamp/3/get -e lamp/3/state         # 3.1.1: the next message there
  dormouse request -t discover -C 10 -W 2 --json                  # who is there? 10, or 2 s

Who is asked answers to the response topic, with the correlation data that came
(dormouse.mqtt5.request.respond does).

{formats}
exit status: 0 answered; 1 it could not be asked, with the reason; 2 wrong arguments;
3 no answer within -W, or fewer than -C; 130 interrupted
"""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="dormouse request",
        description="Ask by MQTT, and print the answer.",
        epilog=EXAMPLES.replace("{formats}", formats.HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    asked = parser.add_argument_group("request")
    asked.add_argument("-t", "--topic", type=utf8, metavar="TOPIC")
    asked.add_argument("-m", "--message", metavar="TEXT", default="", help="the payload")
    asked.add_argument("-q", "--qos", type=int, choices=(0, 1, 2), default=1)
    asked.add_argument(
        "-e", "--response-topic", type=utf8, metavar="TOPIC", help="where answers go"
    )
    answer = parser.add_argument_group("answer")
    answer.add_argument(
        "-C", "--count", type=at_least_one, default=1, metavar="N", help="so many (1)"
    )
    answer.add_argument("-W", "--timeout", type=positive, default=10, metavar="S", help="10 s")
    answer.add_argument("-v", "--verbose", action="store_true", help="topic and payload")
    answer.add_argument("-F", "--format", type=utf8, metavar="FORMAT", help="see below")
    answer.add_argument("-N", "--no-newline", action="store_true")
    answer.add_argument("--json", action="store_true", help="a JSON document for each answer")
    connection.add_options(parser)
    parser.set_defaults(protocol_version="5")
    parser.add_argument_group("other").add_argument("--help", action="help", help="this text")
    options = parser.parse_args(argv)
    connection.resolve(options)
    if not options.topic:
        parser.error("-t TOPIC is missing")
    if options.version != 5 and not options.response_topic:
        parser.error("MQTT 3.1.1 tells nobody where answers go: say -e TOPIC")
    if options.format:
        formats.check(options.format)
    return options


def response_topic(client: Client, options: argparse.Namespace) -> str:
    """Return where answers are to go: as asked, as the server proposes, or one of our own."""
    if options.response_topic:
        return str(options.response_topic)
    proposed = client.session.server.get("response_information", "response/")
    return f"{proposed}{os.urandom(8).hex()}"


def is_answer(message: Message, key: bytes | None, own: bool) -> bool:
    """Tell whether a message answers; own: nobody but us has its topic."""
    if key is None:
        return not message.retain  # 3.1.1: what stood there before answers nothing
    said = message.properties.get("correlation_data")
    return said == key or (said is None and own)


async def ask(client: Client, options: argparse.Namespace) -> None:
    """Ask, and print the answers. Raises what the client raises."""
    topic = response_topic(client, options)
    await client.subscribe(topic, qos=max(options.qos, 1))
    key = None
    more = options.properties.of("publish") if options.version == 5 else {}
    if options.version == 5:
        key = more.setdefault("correlation_data", os.urandom(8))
        more["response_topic"] = topic
    question = connection.payload(options.message)
    code = await client.publish(options.topic, question, qos=options.qos, **more)
    if code == 0x10:
        raise Failure(f"nobody listens at {options.topic}", "is who should answer connected?")
    shape = template(options)
    left = options.count
    async for message in client.messages:
        if is_answer(message, key, not options.response_topic):
            output.write(formats.render(shape, arrived(message)))
            left -= 1
            if not left:
                message.ack()
                return


async def run(options: argparse.Namespace) -> int:
    """Connect and ask; return the exit status. Raises Failure."""
    try:
        async with (
            asyncio.timeout(options.timeout),
            connection.connected(options, "request") as client,
        ):
            await ask(client, options)
    except TimeoutError as error:
        raise Failure(f"no answer within {options.timeout:g} s", status=LATE) from error
    except (MQTTError, OSError, ValueError, TypeError) as error:
        raise connection.explain(error, options) from error
    return DONE


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    return asyncio.run(run(arguments(argv)))
