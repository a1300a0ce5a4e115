"""Checks of what MQTT 3.1.1 demands of a client and no other check shows, on every runtime.

See core_checks.py, whose way this is. Bytes are written out by hand from the standard.
"""

import core_checks
import dormouse.packet as packet
from core_checks import ILL_FORMED, Line, h, raises, same


# mqtt311: MQTT-1.5.3-1 MQTT-1.5.3-2 MQTT-3.1.3-4 MQTT-3.1.3-10 MQTT-3.1.3-11 MQTT-3.3.2-1
# mqtt311: MQTT-3.8.3-1 MQTT-3.10.3-1 MQTT-4.7.3-2
# mqtt5: MQTT-1.5.4-1 MQTT-3.1.3-11
def check_ill_formed_strings_are_not_sent():
    # A str may hold half a surrogate pair, on MicroPython anything; no string on the wire may.
    for bad in ("a\x00", chr(0xD800), "a" + chr(0xDFFF), chr(0xD83D) + chr(0xDE00)):
        raises(ValueError, packet.connect, bad, True, 0, None, None, None)
        raises(ValueError, packet.connect, "c", True, 0, None, bad, None)
        raises(ValueError, packet.Will, bad)
        raises(ValueError, packet.publish, bad, b"", 0, False, 0)
        raises(ValueError, packet.request, 0x82, 1, [("a", 0), (bad, 0)])
        raises(ValueError, packet.request, 0xA2, 1, ["a", bad])
    for good in ("\ud7ff\ue000", "\U00010000", "\U0001f600"):
        data = packet.publish(good, b"", 0, False, 0)
        same(bytes(data[4:]), good.encode())


# mqtt311: MQTT-1.5.3-1 MQTT-1.5.3-2 MQTT-4.7.3-2 MQTT-4.8.0-1
def check_ill_formed_strings_end_the_connection():
    for text in ILL_FORMED:
        line = Line().up()
        topic = h(text)
        body = bytes((0, len(topic))) + topic + b"\x00\x01"
        data = b"\x32" + bytes((len(body),)) + body
        error = raises(packet.ProtocolError, line.session.receive, memoryview(data), 0)
        same(error.args, (0x32,))
        same((line.session.inbox, line.session.held), ([], []))
        line.writes("")  # not acknowledged


# mqtt311: MQTT-3.1.0-1 MQTT-3.1.0-2 MQTT-3.1.3-2
def check_one_connect_for_each_connection():
    line = Line()
    s = line.session
    s.publish("a", b"", 1)
    s.request(0x82, [("b", 0)])
    for present in (0, 1, 0):
        s.lost()
        s.connect(0)
        # The same client identifier each time: the broker finds the session by it.
        line.writes("10 0d 0004'MQTT' 04 00 003c 0001'c'")
        line.writes("")
        line.reads("20 02 0%d 00" % present)
        assert line.written()[:1] in (b"\x32", b"\x3a", b"\x82")
        s.tick(59000)
        line.writes("c0 00")
        s.disconnect()
        line.writes("e0 00")
        line.writes("")


# mqtt311: MQTT-2.3.1-2 MQTT-2.3.1-3 MQTT-4.3.3-1
def check_identifier_is_free_at_pubcomp():
    line = Line().up()
    s = line.session

    def next_pid():
        s.pid = 0  # all 65535 have been used since
        o = s.publish("b", b"", 1)
        s.withdraw(o)
        return o.pid

    s.publish("a", b"", 2)
    same(next_pid(), 2)
    line.writes("34 05 0001'a' 0001")
    line.reads("50 02 0001")
    same(next_pid(), 2)
    line.writes("62 02 0001")
    same(next_pid(), 2)
    line.reads("70 02 0001")
    same(next_pid(), 1)
    # SUBSCRIBE and PUBLISH share them.
    s.pid = 0
    s.request(0x82, [("c", 0)])
    same(next_pid(), 2)
    line.writes("82 06 0001 0001'c' 00")
    same(next_pid(), 2)
    line.reads("90 03 0001 00")
    same(next_pid(), 1)


# mqtt311: MQTT-2.3.1-7 MQTT-3.8.4-2 MQTT-3.10.4-4
def check_answers_are_matched_by_identifier():
    line = Line().up()
    s = line.session
    a = s.request(0x82, [("a", 2)])
    b = s.request(0x82, [("b", 1)])
    c = s.request(0xA2, ["c"])
    d = s.request(0xA2, ["d"])
    assert line.written()
    line.reads("b0 02 0004")
    same([o.done for o in (a, b, c, d)], [False, False, False, True])
    line.reads("90 03 0002 80")
    same([o.done for o in (a, b, c, d)], [False, True, False, True])
    same((b.codes, a.codes), ([0x80], None))
    line.reads("90 03 0001 02")
    assert a.done and not a.error and not c.done
    same(s.filters, {"a": 2})
    line.reads("b0 02 0003")
    assert c.done
    # One that answers to nothing, or to a packet of another kind, is no answer.
    a = s.request(0x82, [("a", 2)])
    line.written()
    line.reads("90 03 0006 02 b0 02 0005")
    assert not a.done and isinstance(s.trouble, packet.ProtocolError)
    same(s.troubles, 2)


# mqtt311: MQTT-3.8.4-5 MQTT-3.9.3-1
def check_suback_is_in_the_order_of_the_filters():
    line = Line().up()
    s = line.session
    s.request(0x82, [("a", 0), ("b", 0), ("c", 0), ("d", 0)])
    line.written()
    line.reads("90 06 0001 00 00 00 00")
    o = s.request(0x82, [("a", 2), ("b", 2), ("c", 1), ("e", 1)])
    line.written()
    line.reads("90 06 0002 02 80 00 80")  # as asked, refused, less, refused
    same(o.codes, [2, 0x80, 0, 0x80])
    same(o.error.code, o.codes)
    same(sorted(s.filters), ["a", "c", "d"])


# mqtt311: MQTT-3.3.1-1 MQTT-3.3.1-3
def check_dup_is_not_passed_on():
    line = Line().up()
    s = line.session
    for qos, text in ((1, "3a 06 0001'a' 0007 'x'"), (2, "3c 06 0001'a' 0008 'x'")):
        line.reads(text)
        m = s.inbox.pop(0)
        s.publish("b", m.payload, m.qos, m.retain)
        line.writes("%d 06 0001'b' 000%d 'x'" % (30 + 2 * qos, qos))
    # The other way: that it goes again here says nothing of what comes.
    line.up(present=1).writes("3a 06 0001'b' 0001 'x' 3c 06 0001'b' 0002 'x'")


# mqtt311: MQTT-3.10.4-3
def check_what_comes_after_unsubscribe_is_finished():
    line = Line().up()
    s = line.session
    s.request(0x82, [("a", 2)])
    line.written()
    line.reads("90 03 0001 02 34 05 0001'a' 0007")  # begun
    s.request(0xA2, ["a"])
    line.writes("a2 05 0002 0001'a'")
    line.reads("b0 02 0002 32 05 0001'a' 0008 34 05 0001'a' 0009")
    same(s.filters, {})
    same([m.pid for m in s.inbox], [7, 8, 9])
    for m in list(s.inbox):
        m.ack()
    line.writes("50 02 0007 40 02 0008 50 02 0009")
    line.reads("62 02 0007 62 02 0009")
    line.writes("70 02 0007 70 02 0009")


# mqtt311: MQTT-3.2.2-3
def check_a_new_session_has_new_identifiers():
    line = Line().up()
    s = line.session
    line.reads("34 05 0001'a' 0007 34 05 0001'b' 0008")
    s.inbox.pop(0).ack()
    line.writes("50 02 0007")
    line.up(present=0)
    # Of what the broker sent then nothing arrived, so it comes again.
    line.up(present=1)
    line.reads("3c 05 0001'c' 0007 3c 05 0001'd' 0008")
    same([m.topic for m in s.inbox], ["b", "c", "d"])


# mqtt311: MQTT-4.1.0-1 MQTT-4.1.0-2
def check_a_clean_session_lasts_as_long_as_its_connection():
    line = Line(clean=True).up()
    s = line.session
    o = s.publish("a", b"", 2)
    line.writes("34 05 0001'a' 0001")
    line.reads("34 05 0001'b' 0007 50 02 0001")
    s.inbox.pop(0).ack()
    line.writes("50 02 0007 62 02 0001")
    for n in range(2, 302):  # whatever else passes
        s.publish("c", b"", 1)
        line.writes("32 05 0001'c' %04x" % n)
        line.reads("40 02 %04x 34 05 0001'd' %04x" % (n, n + 100))
        s.inbox.pop(0).ack()
        line.writes("50 02 %04x" % (n + 100))
        if n > 12:  # ten of them are under way
            line.reads("62 02 %04x" % (n + 90))
            line.writes("70 02 %04x" % (n + 90))
    line.reads("3c 05 0001'b' 0007")
    same(s.inbox, [])
    line.writes("50 02 0007")
    assert not o.done
    line.reads("62 02 0007 70 02 0001")
    line.writes("70 02 0007")
    assert o.done and not o.error and 7 not in s.released


CHECKS = sorted(name for name in globals() if name.startswith("check_"))

if __name__ == "__main__":
    core_checks.run(globals(), CHECKS)
