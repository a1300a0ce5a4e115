"""More checks of mqtt5/session.py and expiry.py, where a fault of one line was seen by no other
check. On every runtime; see session5_checks.py, and docs/proof.md, "Mutants".
"""

import dormouse.mqtt5.session as module
import dormouse.reason as reason
from core_checks import h, raises, same
from dormouse.expiry import Expired, expiring
from dormouse.mqtt5.server import server
from dormouse.mqtt5.session import Disconnected, Failed, Session5
from dormouse.packet import ProtocolError
from dormouse.session import Session
from dormouse.store import Store, StoreFull, message
from dormouse.store.durable import durable
from liveness_checks import Medium
from session5_checks import MOVED, Clock, Line5, M, Owner, Sleeper5, authenticating, subscribed

# Reasons of a DISCONNECT that may be of the packet that was under way (section 3.14.2.1): all
# others are the connection's.
OF_A_PACKET = b"\x80\x81\x82\x83\x87\x8f\x90\x93\x95\x97\x99\x9a\x9b\x9e\xa1\xa2"


def check_which_reasons_are_of_a_packet():
    for code in range(0x80, 0xA3):
        line = Line5().up()
        s = line.session
        o = s.publish("t", b"", 1)
        line.written()
        o.tries = 3
        s.suspects = 1
        s.lost(Disconnected(code, {}))
        same((code, o.tries), (code, 4 if code in OF_A_PACKET else 3))


def check_errors_say_why():
    assert "authorized" in str(Failed(0x87, {}))
    assert "because" in str(Failed(0x87, {"reason_string": "because"}))
    assert "busy" in str(Disconnected(0x89, {}))


# --- what the server must not send


def check_what_is_no_packet():
    line = Line5().up()
    line.fails("00 00", "81")
    for text in ("40 80 00", "d0 80 00", "40 ff ff ff ff"):
        line = Line5().up()
        line.fails(text, "81")
    for text in ("10 02 0001", "80 02 0001", "a0 02 0001", "c0 00", "80 04 0001 00 00"):
        line = Line5().up()
        line.session.publish("t", b"", 1)
        line.written()
        line.kicks = 0
        line.reads(text)
        same(bytes(line.session.take(0))[:2], h("e0 01"))
        raises(ProtocolError, line.session.take, 0)


def check_nothing_behind_a_fault():
    line = Line5().up()
    line.reads("32 06 0001'a' 0001 00")
    m = line.session.inbox.pop(0)
    line.kicks = 0
    line.reads("00 00")
    line.written_last("81")
    m.ack()
    raises(ProtocolError, line.session.take, 0)


def check_no_server_answers_to_a_burst():
    # A captive portal, say: it is no evidence against what went before CONNACK.
    for text in (b"HTTP/1.1 400 Bad Request" + b" " * 90, h("40 02 0001"), h("20 02 0000")):
        s = Sleeper5().known()
        o = s.session.publish("a", b"1", 1)
        assert s.burst()
        s.session.receive(memoryview(text), 0)
        same(bytes(s.session.take(0))[0], 0xE0)
        s.session.lost(raises(ProtocolError, s.session.take, 0))
        same((o.tries, s.session.suspects), (0, 0))
    # Behind CONNACK it is.
    s = Sleeper5().known()
    o = s.session.publish("a", b"1", 1)
    s.burst()
    s.connack(1).fails("40 03 0001 01", "82")
    s.session.lost(s.session.fault)
    same(o.tries, 1)
    # And what ended it is the fault, also where the server did not wait to be told.
    line = Line5().up()
    o = line.session.publish("a", b"1", 1)
    line.written()
    line.reads("00 00")
    line.session.lost(OSError(104))
    same(o.tries, 0)


def check_receive_maximum_that_the_server_does_not_heed():
    # mosquitto repeats all that it had in flight, though it was more with an earlier client of this
    # session. Two connections end at it, then it is borne, and told.
    line = Line5(properties={"receive_maximum": 2}).up()
    s = line.session
    for _ in range(2):
        line.up(present=1)
        line.reads("3a 06 0001'a' 0001 00 3a 06 0001'b' 0002 00")
        line.fails("3a 06 0001'c' 0003 00", "93")
        same(s.troubles, 0)
    line.up(present=1)
    s.inbox.clear()
    s.held.clear()
    line.reads("3a 06 0001'a' 0001 00 3a 06 0001'b' 0002 00 3a 06 0001'c' 0003 00")
    same(([m.topic for m in s.inbox], s.troubles, s.trouble.code), (["a", "b", "c"], 1, 0x93))
    for m in s.inbox:
        m.ack()
    line.writes("40 02 0001 40 02 0002 40 02 0003")


# --- acknowledgements


def check_answer_to_what_was_not_sent():
    line = Line5(window=1).up()
    s = line.session
    s.publish("a", b"", 1)
    waits = s.publish("b", b"", 1)
    line.written()
    line.reads("40 03 0002 87")
    same((waits.done, len(s.outbox)), (False, 2))


def check_identifiers_of_both_sides_are_apart():
    line = Line5().up()
    o = line.session.publish("a", b"", 1)
    line.written()
    line.reads("62 03 0001 92")  # of the server's own message 1
    line.reads("40 02 0001")
    same((o.done, o.codes, o.error), (True, 0, None))


def check_repeated_pubrec():
    # It did not have PUBREL: that goes again. And of what is at PUBREL nothing is refused any more.
    line = Line5().up()
    s = line.session
    o = s.publish("a", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.reads("50 02 0001")
    line.writes("62 02 0001")
    line.reads("40 03 0001 80")
    same((o.done, s.troubles), (False, 1))
    line.reads("70 02 0001")
    assert o.done and not o.error


def check_codes_that_the_standard_has_not_there():
    # From 0x80 on it is a refusal, whatever the table says: mosquitto's PUBACK for what is longer
    # than its message_size_limit.
    for text, qos in (("40 03 0001 95", 1), ("50 03 0001 95", 2)):
        line = Line5().up()
        o = line.session.publish("a", b"", qos)
        line.written()
        line.reads(text)
        same((o.done, type(o.error), o.error.code), (True, Failed, 0x95))
        line.writes("")
    for first, filters, text in (
        (0x82, [("a", 0), ("b", 0)], "90 05 0001 00 01 95"),
        (0xA2, ["a", "b"], "b0 05 0001 00 00 95"),
    ):
        line = Line5().up()
        o = line.session.request(first, filters)
        line.written()
        line.reads(text)
        same((o.done, o.error.code), (True, [first == 0x82, 0x95]))
    # Below, it ends two connections, as the standard wants; then it counts for what it says
    # (mochi-mqtt's PUBACK for a message with user properties), and at once from then on.
    for text, qos in (("40 0c 0001 01 08 26 0001'k' 0002'vv'", 1), ("50 03 0001 02", 2)):
        line = Line5().up()
        s = line.session
        o = s.publish("a", b"", qos, user_properties=[("k", "vv")])
        line.written()
        for _ in range(2):
            s.lost(line.fails(text, "82"))
            line.up(present=1)
            line.written()
            line.reads("d0 00")
            line.written()
        line.reads(text)
        same((o.error, o.done, s.suspects), (None, qos == 1, 0))
        o = s.publish("b", b"", 1)
        line.written()
        line.reads("40 03 %04x 01" % o.pid)
        same((o.done, o.error, o.codes), (True, None, 1))


def check_what_is_asked_for_counts_behind_what_is_repeated():
    for first, filters, code, left in ((0xA2, ["a"], "00", {}), (0x82, [("a", 2)], "02", {"a": 2})):
        line = Line5().up()
        s = line.session
        s.request(0x82, [("a", 0)])
        line.written()
        line.reads("90 04 0001 00 00")
        o = s.request(first, filters)
        asked = line.written()
        line.up(present=0).writes("82 07 0003 00 0001'a' 00" + asked.hex())
        line.reads("90 04 0003 00 00 %02x 04 0002 00" % (first + 14) + code)
        same((o.done, o.error, s.filters), (True, None, left))


def check_refused_when_it_is_repeated():
    # "In use" says that it is there; all else is a refusal, also with DUP.
    for code, refused in (("91", False), ("87", True), ("97", True)):
        line = Line5().up()
        o = line.session.publish("a", b"", 2)
        line.written()
        line.up(present=1)
        same(line.written()[0], 0x3C)
        line.reads("50 03 0001" + code)
        same(o.done, refused)
        line.writes("" if refused else "62 02 0001")
    line = Line5().up()
    o = line.session.publish("a", b"", 2, True)
    line.written()
    line.reads("50 03 0001 91")  # another message is there
    same(type(o.error), Failed)
    line = Line5().up()
    o = line.session.publish("a", b"", 1)
    line.written()
    line.up(present=1).written()
    line.reads("40 03 0001 91")
    same(type(o.error), Failed)
    line = Line5().up()
    o = line.session.publish("a", b"", 2)
    line.written()
    line.reads("50 02 0001")
    line.written()
    line.reads("50 03 0001 91")  # of what is at PUBREL: there is no packet any more
    same(type(o.error), Failed)


NOT_OFFERED = (  # in CONNACK, what goes without it, and with it
    ("28 00", [("a/#", 1), ("b", 1)], 0, 0xA2),
    ("28 00", [("+", 1)], 0, 0xA2),
    ("29 00", [("b", 1)], 7, 0xA1),
    ("2a 00", [("$share/g/b", 1)], 0, 0x9E),
)


def check_subscribes_to_what_is_not_offered():
    # What waits when CONNACK says so does not go: it would end the connection, again and again.
    for more, pairs, number, code in NOT_OFFERED:
        for present in (None, 0, 1):  # the first connection; another one
            line = Line5()
            if present is not None:
                line.up()
                line.session.lost()
            s = line.session
            o = s.request(0x82, pairs, subscription_id=number)
            good = s.publish("t", b"", 1)
            line.up(more=more, present=present or 0).writes("32 06 0001't' 0002 00")
            same((o.done, type(o.error), o.error.code, good.done), (True, Failed, code, False))
            same((s.troubles, s.asking, s.flying, s.suspects), (1, 0, 1, 0))
        line = Line5()
        o = line.session.request(0x82, pairs, subscription_id=number)
        assert line.up(more=more.replace(" 00", " 01")).written()
        same(o.done, False)


def check_repeats_what_is_not_offered_any_more():
    # A repeat was cut before it went. What is not taken now is not subscribed: not in the store
    # either, and it keeps back no other.
    for more, name in (("28 00", "a/#"), ("27 00000010", "a/long/topic")):
        s = Sleeper5(burst=False)
        s.up()
        subscribed(s, name, 1)
        subscribed(s, "b", 1)
        s.written()
        s.up(present=0)
        s.up(present=1, more=more)
        pid = s.session.pid
        s.writes("82 07 %04x 00 0001'b' 01" % pid)
        same((s.session.filters, s.session.denied), ({"b": 1}, {name: 1}))
        same((s.session.troubles, type(s.session.trouble)), (1, Failed))
        same(s.again().session.filters, {"b": 1})
        # It is asked for at each connection, and offered again.
        s.up(present=1, more="")
        assert [(name, 1)] in [o.filters for o in s.session.again]


def check_what_is_not_offered_is_known_after_a_sleep():
    for more, pairs, number, code in NOT_OFFERED:
        s = Sleeper5().known(more).again()
        s.session.request(0x82, pairs, subscription_id=number)  # the server may offer it by now
        s.session.recall()
        e = raises(Failed, s.session.request, 0x82, pairs, number)
        same(e.code, code)
        s.session.request(0x82, [("b", 1)])


def check_unsuback_of_too_many():
    line = Line5().up()
    subscribed(line, "a")
    subscribed(line, "b")
    o = line.session.request(0xA2, ["a", "b"])
    line.written()
    line.reads("b0 04 %04x 00 00" % o.pid)
    assert isinstance(o.error, ProtocolError)
    same(sorted(line.session.filters), ["a", "b"])


def check_no_problem_information():
    line = Line5(properties={"request_problem_information": 0}).up()
    o = line.session.publish("a", b"", 1)
    line.written()
    line.reads("40 03 0001 10")
    assert o.done and not o.error


def check_two_filters_that_go_together_no_more():
    told = []
    line = Line5(on_trouble=told.append).up()
    s = line.session
    names = ["greenhouse/7/%s/cmd" % name for name in ("north", "south")]
    for name in names:
        s.filters[name] = 1
    line.up(more="27 00000024")
    data = line.written()
    for name in names:
        assert name.encode() in data, name
    same((told, sorted(s.filters)), ([], names))


# --- messages


def check_alias_is_not_the_applications():
    line = Line5(properties={"topic_alias_maximum": 5}).up()
    line.reads("30 0f 0001'a' 0a 23 0001 26 0001'k' 0001'v''x'")
    (m,) = line.session.inbox
    same((m.payload, m.properties), (b"x", {"user_properties": [("k", "v")]}))


def check_alias_of_a_long_topic():
    line = Line5().up(more="22 0064")
    s = line.session
    name = "t" * 300
    for _ in range(2):
        s.publish(name, b"x")
    line.writes("30 b002 012c '" + name + "' 00 'x' 30 b302 012c '" + name + "' 03 23 0001 'x'")
    s.publish(name, b"x")
    line.writes("30 07 0000 03 23 0001 'x'")
    # As many are known as may be of use.
    for i in range(100):
        s.publish("a topic %d" % i)
    line.written()
    same(len(s.aliases), 32)


def check_expiry_to_the_byte():
    # What stands behind the packet, in RAM only, is not what the server counts.
    line = Line5().up(more="27 0000000d")
    s = line.session
    s.publish("a", b"xx", 0, message_expiry=5)
    line.writes("30 0b 0001'a' 05 02 00000005'xx'")
    raises(Failed, s.publish, "a", b"xxx", 0, message_expiry=5)
    s.publish("a", b"x" * 7)
    raises(Failed, s.publish, "a", b"x" * 8)


def check_counted_when_it_is_gone():
    for options in ({}, {"message_expiry": 50}):
        line = Line5().up()
        s = line.session
        for qos in (0, 1):
            s.publish("a", b"x" * 50, qos, **options)
            line.written()
        line.reads("40 02 0001")
        same((s.outbox, s.bulk, s.used), ([], 0, 0))


# --- expiry


def check_expiry_when_the_clock_is_set():
    # A chip without a network begins in 2000: the time of what was published before it knew begins
    # when it does.
    for kind in (expiring(Session), Session5):
        clock = Clock()
        line = Line5(kind, clock=clock)
        s = line.session
        o = s.publish("a", b"1", 1, message_expiry=60)
        s.publish("a", b"2", 1, message_expiry=1 << 31)
        clock.now += 800_000_000
        s.publish("a", b"3", 1)  # which looks for what has expired
        same((o.done, s.left(o)), (False, 60))
        clock.now += 59
        s.publish("a", b"4", 1)
        assert not o.done
        clock.now += 1
        s.publish("a", b"5", 1)
        assert o.done and isinstance(o.error, Expired)
        same([o.pid for o in s.outbox], [2, 3, 4, 5])
        for o in s.outbox[:]:
            s.withdraw(o)
        same(s.bulk, 0)


def check_expiry_that_is_long_or_over():
    # At 3.1.1 it goes nowhere: what MQTT 5 could not say may be said.
    clock = Clock()
    line = Line5(expiring(Session), clock=clock)
    s = line.session
    long = s.publish("a", b"1", 1, message_expiry=1 << 33)
    over = s.publish("a", b"2", 1, message_expiry=-1)
    s.publish("a", b"3", 1)
    same((long.done, over.done), (False, True))


def check_expiry_behind_a_restart():
    for kind in (durable(expiring(Session)), durable(Session5)):
        clock = Clock()
        store = Medium()
        line = Line5(kind, store=store, clock=clock)
        line.session.publish("a", b"1", 1, message_expiry=60)
        line.session.publish("a", b"2", 1, message_expiry=90)
        clock.now += 60
        line = Line5(kind, store=store, clock=clock)
        line.hello()
        line.reads("20 02 00 00" if not hasattr(line.session, "server") else "20 03 00 00 00")
        data = line.written()
        same((data[0], data[1], data.count(b"a")), (0x32, len(data) - 2, 1))
        same(data[-1:], b"2")


def check_expiry_of_3_1_1_that_was_sent():
    # Its time is over, or longer than MQTT 5 can say: it goes on to the end of its handshake.
    for seconds, left in ((10, "00000001"), (1 << 33, "ffffffff")):
        clock = Clock()
        store = Medium()
        line = Line5(durable(expiring(Session)), store=store, clock=clock)
        line.hello()
        line.reads("20 02 00 00")
        line.session.publish("a", b"1", 1, message_expiry=seconds)
        line.writes("32 06 0001'a' 0001 '1'")
        clock.now += 100
        line = Line5(durable(Session5), store=store, clock=clock)
        line.up(present=1).writes("3a 0c 0001'a' 0001 05 02 %s '1'" % left)


class Flash(Store):
    """What was written, and nothing that was only changed in RAM."""

    survives = 2
    full = False

    def __init__(self, pages):
        self.pages = pages
        super().__init__()

    def read(self):
        return {key: bytearray(self.pages[key]) for key in self.pages}

    def write(self, changes):
        if self.full and message(changes):
            raise StoreFull
        for key in changes:
            self.pages.pop(key, None)
            if changes[key] is not None:
                self.pages[key] = bytes(changes[key])


def check_expiry_when_the_clock_is_set_and_it_sleeps():
    # Its time begins once, not at each wake.
    for kind in (durable(expiring(Session)), durable(Session5)):
        clock = Clock()
        pages = {}
        line = Line5(kind, store=Flash(pages), clock=clock)
        line.session.publish("a", b"1", 1, message_expiry=60)
        clock.now += 800_000_000
        for seconds, waits in ((0, 1), (59, 1), (1, 0)):
            clock.now += seconds
            line = Line5(kind, store=Flash(pages), clock=clock)
            line.hello()
            same(len(line.session.outbox), waits)


def check_expiry_that_begins_where_the_store_is_full():
    # That its time begins is noted if there is room: a store takes it for one message more.
    for kind, connack in (
        (durable(expiring(Session)), "20 02 00 00"),
        (durable(Session5), "20 03 00 00 00"),
    ):
        clock = Clock()
        pages = {}
        line = Line5(kind, store=Flash(pages), clock=clock, window=1)
        s = line.session
        s.publish("a", b"1", 2, message_expiry=60)
        s.publish("a", b"2", 2, message_expiry=60)
        s.store.full = True
        clock.now += 800_000_000
        line.hello()
        line.reads(connack)
        line.written()
        line.reads("50 02 0001")
        line.writes("62 02 0001")
        same((s.stuck, s.troubles, [key & 0xFFFF for key in sorted(pages)[-2:]]), (None, 0, [0, 2]))


# --- another server


def check_moved_for_ever():
    # To connections that end at once it goes three times in a row, then as to any that failed.
    owner = Owner()
    line = Line5(owner=owner, redirect=True, timeout=1000)
    again = []
    for n in range(6):
        line.up(now=n)
        e = raises((Disconnected, Failed), line.reads, "e0 0d 9d 0b 1c 0008'other:18'", n)
        again.append(getattr(e, "again", False))
        line.session.lost(e)
    same(again, [True, True, True, False, False, False])


def check_moved_twice_and_back():
    owner = Owner()
    home = owner.address
    line = Line5(owner=owner, redirect=True)
    line.hello()
    raises(Disconnected, line.reads, MOVED["other"])
    line.hello()
    raises(Disconnected, line.reads, "20 0e 00 9d 0b 1c 0008'third:19'")
    same(owner.address[:2], ("third", 19))
    line.hello()
    line.session.lost()
    same(owner.address, home)


def check_moved_with_a_proof():
    # What proves the client is asked at each connection: no other host hears it.
    owner = Owner()
    line, _ = authenticating(owner=owner, redirect=True)
    raises(Failed, line.reads, MOVED["other"])
    same(owner.address[0], "first")
    line, _ = authenticating(owner=owner, redirect=("other",))  # it is told whom to trust
    raises(Disconnected, line.reads, MOVED["other"])
    same(owner.address[0], "other")


def check_server_reference():
    for text, host, port in (
        ("broker-2.a_b.Example.org:8884", "broker-2.a_b.Example.org", 8884),
        ("10.0.0.7", "10.0.0.7", 0),
        ("az09AZ", "az09AZ", 0),
        ("[fe80::1]:1884 other:1", "fe80::1", 1884),
        ("[fe80::1]", "fe80::1", 0),
        ("a:65535", "a", 65535),
        ("", "", 0),
        ("a:", "", 0),
        ("a:0", "", 0),
        ("a:01", "", 0),
        ("a:x", "", 0),
        ("[fe80::1]x1884", "", 0),
        ("a/b", "", 0),
        ("a;b", "", 0),
        ("a@b", "", 0),
        ("a[b", "", 0),
        ("a`b", "", 0),
        ("a{b", "", 0),
        ("a,b", "", 0),
    ):
        same(server(text), (host, port))
    assert server("a:" + "9" * 40)[1] > 65535


def check_under_way_when_less_is_taken():
    # It went in the burst, by what the server took then: its answer says what became of it.
    s = Sleeper5().known()
    o = s.session.publish("a", b"x" * 50, 1)
    assert o.packet in s.burst()
    s.connack(1, "27 00000010")
    s.writes("")
    assert not o.done
    s.reads("40 02 0001")
    assert o.done and not o.error


# --- AUTH


def check_answer_to_a_challenge_is_written():
    line, _ = authenticating()
    line.kicks = 0
    line.reads("f0 0a 18 08" + M + "16 0001'1'")
    assert line.kicks


def check_server_is_what_connack_said():
    # Also while the next one is waited for.
    store = Medium()
    line = Line5(durable(Session5), store=store)
    line.up(more="21 0005 1f 0002'ok'")
    line.hello()
    same(line.session.server, {"receive_maximum": 5, "reason_string": "ok"})


# --- no memory


def no_memory(*_):
    raise MemoryError


def check_a_long_one_that_expires_is_not_copied():
    # Where there is no memory for that, it would end each connection, and nothing else went.
    s = expiring(Session)(lambda: None)
    s.connect(0)
    s.take(0)
    s.receive(memoryview(h("20 02 00 00")), 0)
    for n, kind in ((600, memoryview), (20, bytearray)):
        o = s.publish("t", b"x" * n, 1, message_expiry=60)
        data = s.take(0)
        same((type(data), bytes(data)), (kind, bytes(o.packet[:-9])))
    s.publish("t", b"x" * 600, 1, message_expiry=60)
    s.publish("t", b"y", 1)
    same(len(s.take(0)), 608)
    same(len(s.take(0)), 8)


def check_a_long_one_goes_without_memory_to_make_it_anew():
    line = Line5().up(more="22 0002")
    s = line.session
    frame = module.frame
    try:
        for _ in range(3):
            s.publish("a/topic", b"x", 1)
            line.written()
        long = s.publish("a/topic", b"x" * 600, 1, message_expiry=60)
        module.frame = no_memory
        same(line.written(), bytes(long.packet[:-9]))  # with its topic
        module.frame = frame
        s.publish("a/topic", b"x", 1)  # the alias is a new one, and comes with it
        data = line.written()
        assert b"\0\x07a/topic" in data and b"\x23\0\x02" in data, data
    finally:
        module.frame = frame


def check_refused_without_memory_for_words():
    line = Line5().up()
    s = line.session
    told = []
    s.on_trouble = told.append
    o = s.publish("t", b"x", 1)
    line.written()
    text = reason.text
    reason.text = no_memory
    try:
        line.reads("40 03 0001 97")
    finally:
        reason.text = text
    same((o.done, o.error.code, told), (True, 0x97, [o.error]))
    assert s.state == 2


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    import core_checks

    core_checks.run(globals(), CHECKS)
