"""The checks of wifi.py and of the simulated network (wifi_checks.py), on every runtime."""

import re
import shutil
import socket
from pathlib import Path

from tools.testing import runtimes

CHECKS = Path(__file__).with_name("wifi_checks.py")
NETWORK = runtimes.ROOT / "boards" / "unix"


# The simulated MicroPython. What differs: active() of RP2 up to 1.24.0 and from 1.28 on; ifconfig()
# that is gone.
VERSIONS = {
    "cpython": {"esp32": "1.22", "rp2": "1.24.0"},
    "micropython64": {"esp32": "1.25", "rp2": "1.25"},
    "micropython32": {"esp32": "2.0", "rp2": "1.28"},
}


def start(
    runtime: runtimes.Runtime, board: str, folder: Path, port: int, version: str
) -> runtimes.Device:
    # Side by side, so that of boards/unix only the network is found: the rest needs board.py.
    folder.mkdir()
    program = Path(shutil.copy(CHECKS, folder))
    for name in ("network.py", "_sockets.py"):
        shutil.copy(NETWORK / name, folder)
    (folder / "network.json").write_text(f'{{"type": "{board}", "version": "{version}"}}')
    env = {"DORMOUSE_BOARD": str(folder), "BOARD_TYPE": board}
    return runtime.start(program, str(port), env=env)


def test_on_runtime(runtime: runtimes.Runtime, tmp_path: Path) -> None:
    """On both types of board at once: most of the time they wait."""
    names = re.findall(r"^async def (check_\w+)", CHECKS.read_text(), re.MULTILINE)
    assert len(names) > 15
    versions = VERSIONS[runtime.name]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            start(runtime, "esp32", tmp_path / "esp32", port, versions["esp32"]) as esp32,
            start(runtime, "rp2", tmp_path / "rp2", port, versions["rp2"]) as rp2,
        ):
            for device in (esp32, rp2):
                assert device.wait_exit(60) == 0, device.transcript()
                output = "\n".join(device.lines) + "\n"
                for name in names:
                    assert f"ok {name} " in output, f"{name} did not pass:\n{output}"
                assert f"done {len(names)} checks, 0 failed" in output, output
