"""Text that is not ASCII, and topic filters with wildcards: loaded when there is such a one."""


def check(data: bytes, text: str) -> None:
    """Raise ValueError(text) if ``data``, what it is encoded to, is not strict UTF-8
    [MQTT-1.5.3-1].

    MicroPython passes overlong forms, surrogates and code points above U+10FFFF (py/unicode.c,
    utf8_check), so the second byte is looked at (Unicode, table 3-7).
    """
    lead = 0
    for c in data:
        if c > 0x7F and (
            c in b"\xc0\xc1"
            or c > 0xF4
            or (lead == 0xE0 and c < 0xA0)
            or (lead == 0xED and c > 0x9F)
            or (lead == 0xF0 and c < 0x90)
            or (lead == 0xF4 and c > 0x8F)
        ):
            raise ValueError(text)
        lead = c


def wildcards(text: str) -> bool:
    """Return whether the wildcards of a topic filter are right: alone in their level, # last
    [MQTT-4.7.1-1 to 4.7.1-3]."""
    # (Twice: two in a row share the / between them.)
    levels = ("/" + text + "/").replace("/+/", "//").replace("/+/", "//")
    if levels.endswith("/#/"):
        levels = levels[:-2]
    return "+" not in levels and "#" not in levels
