"""The program in the README, as it stands there, on every runtime."""

import re
from pathlib import Path

from harness.brokers import MosquittoBroker
from harness.observer import Observer
from harness.runtimes import ROOT, Runtime


def test_readme_program(runtime: Runtime, mosquitto, tmp_path: Path) -> None:
    broker: MosquittoBroker = mosquitto()
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert '"broker.local"' in code
    program = tmp_path / "program.py"
    program.write_text(code.replace('"broker.local"', f'"127.0.0.1", {broker.port}'))
    with Observer(broker, ("greenhouse/#", 2)) as observer:
        with runtime.start(program) as device:
            observer.wait("greenhouse/7/temp", "21.5")
            observer.publish("greenhouse/7/cmd/x", "go", 2)
            device.wait_line("greenhouse/7/cmd/x b'go'", 10)
            device.kill()
        observer.wait("greenhouse/7/state", "offline")
