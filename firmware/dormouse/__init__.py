"""dormouse: a tiny asyncio MQTT client that sleeps and never loses or doubles a message.

    from dormouse import Client, Will, Message

In this folder stands what a plain MQTT 3.1.1 client loads; each folder in it is a part that can be
left out. Names load what they need at first use; the errors are MQTTError and its subclasses.
"""

import sys

_cpython = sys.implementation.name != "micropython"


def __getattr__(name, package="dormouse", modules="packet session client trouble"):
    # The packages in this one call it too, with their own: the first of these modules that has the
    # name is its home.
    for module in modules.split():
        module = package + "." + module
        __import__(module)
        module = sys.modules[module]
        if hasattr(module, name):
            return getattr(module, name)
    if not _cpython:  # there the import statement itself looks for a module
        module = package + "." + name
        try:
            __import__(module)
            return sys.modules[module]
        except ImportError as e:
            if module not in str(e):  # it is there, and lacks something
                raise
    raise AttributeError(name)


if _cpython:
    import dormouse._host as _host  # noqa: F401  (what CPython lacks)
