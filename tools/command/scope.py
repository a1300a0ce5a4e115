"""dormouse scope: see what goes between a node and its broker, packet by packet."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..amounts import at_least_one, given, port, real, target, whole
from .planning import phases
from .scoping import compare, figure, page, text, trace
from .scoping.decode import Decoded, Decoder, Seen, assemble, decode
from .scoping.proxy import Ends, Proxy
from .scoping.trace import BadTrace, Connection, Trace
from .shared import connection, output
from .shared.failure import WRONG, Failure, ReaderGone, need_pictures

EXAMPLES = """
examples:
  dormouse scope -h broker.local                  # a proxy: let the node connect to this machine's
                                                  # port 1884 instead; Ctrl-C ends
  dormouse scope --bind 0.0.0.0 -h broker.local -C 3 --save before.json --html wake.html
  dormouse scope capture.pcap --html wake.html --open       # of tcpdump or Wireshark
  dormouse scope before.json after.json --svg change.svg    # what a change made of a wake
  dormouse scope capture.pcap --client greenhouse-7 --json
  make demo ARGS=--scope                                    # a wake of the demo

A line for each packet: when it passed, how long after the one before, which way, its bytes, what is
in it. At the end of a connection: how long, how many turnarounds, and where the time went. Charge
is the time that the connection took, by the current of a radio that was published (--ma: yours).
Passwords are not shown, and not kept. Inside TLS nothing can be read: let the proxy end it
(--listen-cert, --listen-key, and --tls or --cafile for the broker).

exit status: 0; 1 no broker, no such file, nothing in it, a full disk; 2 wrong arguments; 130
interrupted before anything had come
"""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="dormouse scope",
        description="See what goes between a node and its broker, packet by packet.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument(
        "traces",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="a capture or a trace; two are compared; none: a proxy",
    )
    proxy = parser.add_argument_group("proxy")
    proxy.add_argument("-h", "--host", default="localhost", help="the broker's (%(default)s)")
    proxy.add_argument("-p", "--port", type=port, help="the broker's (1883; with TLS 8883)")
    proxy.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="%(default)s")
    proxy.add_argument(
        "--listen", type=whole(0, 65535), default=1884, metavar="PORT", help="%(default)s; 0: any"
    )
    proxy.add_argument(
        "-C", "--count", type=at_least_one, metavar="N", help="end after N connections"
    )
    proxy.add_argument("--tls", action="store_true", help="to the broker")
    proxy.add_argument(
        "--cafile", type=given, metavar="FILE", help="the authority of the broker's certificate"
    )
    proxy.add_argument("--insecure", action="store_true", help="any certificate will do")
    proxy.add_argument("--listen-cert", type=given, metavar="FILE", help="TLS to the node: PEM")
    proxy.add_argument("--listen-key", type=given, metavar="FILE")
    shape = parser.add_argument_group("output")
    shape.add_argument("--client", metavar="ID", help="only connections of this client")
    shape.add_argument("--save", type=target(), metavar="FILE", help="the trace, for later")
    shape.add_argument("--html", type=target(), metavar="FILE", help="a page with zoom and details")
    shape.add_argument("--open", action="store_true", help="the page, in the browser")
    shape.add_argument(
        "--svg", type=target(".svg"), metavar="FILE", help="a picture of the last connection"
    )
    shape.add_argument("--png", type=target(".png"), metavar="FILE", help="the same")
    shape.add_argument(
        "--ma", type=real(), default=phases.RADIO, help="awake (%(default)g mA); 0: no charge"
    )
    shape.add_argument("--json", action="store_true", help="for programs")
    shape.add_argument("--quiet", action="store_true", help="no packets")
    shape.add_argument("--help", action="help", help="this text")
    options = parser.parse_args(argv)
    if len(options.traces) > 2:
        parser.error("one file is shown, two are compared")
    if (options.listen_cert is None) != (options.listen_key is None):
        parser.error("--listen-cert and --listen-key go together")
    if options.svg or options.png:
        need_pictures()
    if options.open and not options.html:
        options.html = Path("scope.html")
    return options


def find(trace_: Trace, options: argparse.Namespace) -> list[Decoded]:
    """Return the connections that are asked for, decoded. Raises Failure if there are none."""
    found = [decode(c) for c in trace_.connections if c.chunks]
    if options.client:
        found = [d for d in found if d.client_id == options.client]
    if not found:
        what = f" of client {options.client}" if options.client else ""
        raise Failure(f"{trace_.name}: no connection{what} with anything in it")
    return found


# --- What was found, shown ------------------------------------------------------------------------


def as_dict(decoded: Decoded) -> dict[str, Any]:
    """Return a connection for --json."""
    return {
        "connection": decoded.connection.number,
        "client_id": decoded.client_id,
        "version": decoded.version,
        "peer": decoded.connection.peer,
        "end": decoded.connection.end,
        "ms": round(decoded.seconds * 1000, 3),
        "up": decoded.bytes("up"),
        "down": decoded.bytes("down"),
        "turnarounds": decoded.turnarounds,
        "spent_ms": {kind: round(decoded.spent(kind) * 1000, 3) for kind in text.KINDS},
        "packets": [
            {
                "ms": round((p.at - decoded.connection.opened) * 1000, 3),
                "way": p.way,
                "bytes": p.size,
                "name": p.name,
                "wrong": p.wrong,
                "fields": p.fields,
            }
            for p in decoded.packets
        ],
    }


def width() -> int:
    """Return where lines end: the terminal's edge, or nowhere."""
    return output.console().width if output.at_terminal() else 0


def show_packets(found: Sequence[Decoded], options: argparse.Namespace) -> None:
    """Print connections."""
    for decoded in found:
        if options.json:
            output.print_json(as_dict(decoded))
        elif not options.quiet:
            for line in text.lines(decoded, options.ma, not output.at_terminal(), width()):
                print(line)
            print()


def show_comparison(
    before: Sequence[Decoded], after: Sequence[Decoded], options: argparse.Namespace
) -> None:
    """Print two traces side by side."""
    rows = compare.figures(before, after, options.ma)
    difference = compare.packets(before, after)
    if options.json:
        figures = {row.what: [row.before, row.after] for row in rows}
        output.print_json({"figures": figures, "packets": difference})
        return
    names = [path.name for path in options.traces]
    table = output.table("", *names, "change", title="a connection, on average")
    for row in rows:
        table.add_row(row.what, row.before, row.after, row.change)
    output.console().print(table)
    print("packets of the last connection (> to the broker, < to the node):")
    for line in difference:
        print("  " + line)


def write_files(
    traces: Sequence[tuple[str, Sequence[Decoded]]], options: argparse.Namespace, title: str
) -> int:
    """Write page and pictures; return the exit status."""

    def draw(path: Path) -> None:
        figure.save(path, [found[-1] for _, found in traces], options.ma)

    def write_page(path: Path) -> None:
        path.write_text(page.render(traces, options.ma, title), encoding="utf-8")

    paged = output.save("scope", options.html, write_page)
    drawn = [output.save("scope", path, draw) for path in (options.svg, options.png)]
    if options.open and not paged:
        webbrowser.open(options.html.resolve().as_uri())
    return max(paged, *drawn)


# --- The proxy ------------------------------------------------------------------------------------


class Printer:
    """Prints packets as they pass."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.plain = not output.at_terminal()
        self.followed: dict[int, Followed] = {}
        self.last = 0  # the connection that was printed last

    def told(self, c: Connection) -> None:
        """Print what is new of a connection, and at its end what it came to. Raises Failure,
        ReaderGone."""
        with output.printing():
            self._told(c)

    def _told(self, c: Connection) -> None:
        known = self.followed.setdefault(c.number, Followed(c))
        fresh = known.catch_up()
        decoded = assemble(c, known.packets, known.decoder.secure)
        options = self.options
        if options.client and decoded.client_id not in ("", options.client):
            return
        if options.json:
            if c.closed is not None and c.chunks:
                output.print_json(as_dict(decoded))
        elif not options.quiet:
            self._packets(decoded, fresh)
            if c.closed is not None:
                self._end(decoded)

    def _packets(self, decoded: Decoded, fresh: list[Seen]) -> None:
        number = decoded.connection.number
        if fresh and number != self.last:
            begun = len(fresh) == len(decoded.packets)
            print(text.head(decoded) if begun else f"connection {number}:")
            self.last = number
        before = len(decoded.packets) - len(fresh)
        at = decoded.packets[before - 1].at if before else decoded.connection.ready
        for packet in fresh:
            since = packet.at - decoded.connection.opened
            print(text.packet_line(packet, since, packet.at - at, self.plain, width()))
            at = packet.at

    def _end(self, decoded: Decoded) -> None:
        c = decoded.connection
        if not decoded.packets:
            print(f"connection {c.number} from {c.peer}: nothing was sent ({c.end})")
            return
        for line in text.summary(decoded, self.options.ma):
            print("  " + line)
        self.last = 0


class Followed:
    """A connection that is decoded while it goes on."""

    def __init__(self, connection_: Connection) -> None:
        self.connection = connection_
        self.decoder = Decoder()
        self.packets: list[Seen] = []
        self.chunks = 0

    def catch_up(self) -> list[Seen]:
        """Return the packets that are new."""
        chunks = self.connection.chunks[self.chunks :]
        self.chunks += len(chunks)
        fresh = [seen for chunk in chunks for seen in self.decoder.feed(chunk)]
        if self.connection.closed is not None:
            fresh += self.decoder.finish()
        self.packets += fresh
        return fresh


def ends(options: argparse.Namespace) -> Ends:
    """Return where the proxy stands. Raises Failure."""
    listen = None
    if options.listen_cert:
        try:
            listen = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            listen.load_cert_chain(options.listen_cert, options.listen_key)
        except OSError as error:
            names = f"{options.listen_cert}, {options.listen_key}"
            raise Failure(f"{names}: {error}", "PEM files that can be read", WRONG) from error
    connection.check_host(options.host)
    secure = connection.server_context(options.tls, options.cafile, options.insecure)
    port = options.port or (8883 if secure else 1883)
    return Ends(options.bind, options.listen, options.host, port, listen, secure)


async def record(options: argparse.Namespace, trace_: list[Trace]) -> None:
    """Run the proxy until so many connections have ended, or for ever. Raises Failure."""
    where = ends(options)
    try:
        async with Proxy(where, Printer(options).told) as proxy:
            trace_.append(proxy.trace)
            output.note(
                f"listening on {options.bind} port {proxy.port}, on to {where.host} port "
                f"{where.host_port}; Ctrl-C ends"
            )
            await proxy.wait_ended(options.count or sys.maxsize)
    except OSError as error:
        raise Failure(
            f"cannot listen on {options.bind} port {options.listen}: {error.strerror}",
            "--listen for another port, --bind for another address",
        ) from error


def run_proxy(options: argparse.Namespace) -> int:
    """Record, then write what is asked for; return the exit status. Raises Failure, ReaderGone."""
    kept: list[Trace] = []
    unread = None
    try:
        asyncio.run(record(options, kept))
    except (KeyboardInterrupt, Failure, ReaderGone) as error:
        if not kept or not any(c.chunks for c in kept[0].connections):
            raise
        unread = None if isinstance(error, KeyboardInterrupt) else error
    recorded = kept[0]
    saved = output.save("scope", options.save, recorded.save)
    found = find(recorded, options)
    title = f"dormouse scope: {recorded.name}"
    written = write_files([(recorded.name, found)], options, title)
    if unread:
        raise unread
    return max(saved, written)


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; return the exit status. Raises Failure."""
    options = arguments(argv)
    if not options.traces:
        return run_proxy(options)
    try:
        loaded = [trace.load(path) for path in options.traces]
    except BadTrace as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    found = [(t.name, find(t, options)) for t in loaded]
    if len(found) == 2:
        show_comparison(found[0][1], found[1][1], options)
    else:
        show_packets(found[0][1], options)
    saved = output.save("scope", options.save, loaded[0].save)
    title = "dormouse scope: " + ", ".join(name for name, _ in found)
    return max(saved, write_files(found, options, title))
