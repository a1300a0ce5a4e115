# Freeze the library into a firmware: include("path/to/dormouse/firmware/manifest.py") from your
# board's manifest. Frozen code takes no heap and starts at once.
# https://docs.micropython.org/en/latest/reference/manifest.html
package(
    "dormouse",
    files=(
        "__init__.py",
        "packet.py",
        "session.py",
        "client.py",
        "stream.py",
        "router.py",
        "kinds.py",
        "store.py",
        "durable.py",
        "journal.py",
        "rtc.py",
        "nvs.py",
        "sleep.py",
        "wifi.py",
        "ota.py",
        "expiry.py",
        "packet5.py",
        "session5.py",
        "reason.py",
        "request.py",
        "convert.py",
    ),
    opt=3,
)
