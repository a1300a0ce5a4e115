"""For programs that were written for another library: change the import, see what differs.

umqtt           MQTTClient of umqtt.simple              docs/from-umqtt.md
robust          MQTTClient of umqtt.robust
mqtt_as         MQTTClient and config of mqtt_as        docs/from-mqtt_as.md
"""

from .. import __getattr__ as _find


def __getattr__(name):
    return _find(name, "dormouse.compat", "")  # modules only
