"""MQTT 5.0 reason codes by name, as in table 2-6 of the OASIS standard; 0x80 and up is a failure.

It takes its RAM only where a program imports it, or a broker has refused something.
"""

SUCCESS = NORMAL_DISCONNECTION = GRANTED_QOS_0 = 0
GRANTED_QOS_1 = 1
GRANTED_QOS_2 = 2
DISCONNECT_WITH_WILL_MESSAGE = 4
NO_MATCHING_SUBSCRIBERS = 0x10
NO_SUBSCRIPTION_EXISTED = 0x11
CONTINUE_AUTHENTICATION = 0x18
RE_AUTHENTICATE = 0x19
UNSPECIFIED_ERROR = 0x80
MALFORMED_PACKET = 0x81
PROTOCOL_ERROR = 0x82
IMPLEMENTATION_SPECIFIC_ERROR = 0x83
UNSUPPORTED_PROTOCOL_VERSION = 0x84
CLIENT_IDENTIFIER_NOT_VALID = 0x85
BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87
SERVER_UNAVAILABLE = 0x88
SERVER_BUSY = 0x89
BANNED = 0x8A
SERVER_SHUTTING_DOWN = 0x8B
BAD_AUTHENTICATION_METHOD = 0x8C
KEEP_ALIVE_TIMEOUT = 0x8D
SESSION_TAKEN_OVER = 0x8E
TOPIC_FILTER_INVALID = 0x8F
TOPIC_NAME_INVALID = 0x90
PACKET_IDENTIFIER_IN_USE = 0x91
PACKET_IDENTIFIER_NOT_FOUND = 0x92
RECEIVE_MAXIMUM_EXCEEDED = 0x93
TOPIC_ALIAS_INVALID = 0x94
PACKET_TOO_LARGE = 0x95
MESSAGE_RATE_TOO_HIGH = 0x96
QUOTA_EXCEEDED = 0x97
ADMINISTRATIVE_ACTION = 0x98
PAYLOAD_FORMAT_INVALID = 0x99
RETAIN_NOT_SUPPORTED = 0x9A
QOS_NOT_SUPPORTED = 0x9B
USE_ANOTHER_SERVER = 0x9C
SERVER_MOVED = 0x9D
SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
CONNECTION_RATE_EXCEEDED = 0x9F
MAXIMUM_CONNECT_TIME = 0xA0
SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2


def text(code: int) -> str:
    """Return what a reason code says, as "Quota exceeded"; of an unknown one its number.

    0 is "Success" whatever the packet.
    """
    if not code:
        return "Success"
    for name, value in globals().items():
        if value == code:
            # The names are the texts: written twice, they would take the RAM twice.
            name = name[0] + name[1:].lower().replace("_", " ")
            return name.replace("qos", "QoS").replace("Qos", "QoS").replace("Re ", "Re-")
    return "Reason code 0x%02x" % code


def refused(code: int) -> str:
    """Return what CONNACK says at 3.1.1 (section 3.2.2.3): 1 to 5; some brokers say it as MQTT 5
    does."""
    return text(code if code > 5 else b"\0\x84\x85\x88\x86\x87"[code])
