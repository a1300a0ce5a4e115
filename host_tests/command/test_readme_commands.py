"""What README shows of the command, run as it stands there."""

import re
import shlex

from calling import Run

from tools.paths import ROOT
from tools.testing.address import HOST
from tools.testing.brokers import MosquittoBroker


def test_readme(run: Run, server: MosquittoBroker) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    shown = re.findall(r"^\$ dormouse (.*)\n((?:(?!\$ ).*\n)+)", block, re.M)
    assert len(shown) == 3
    for command, output in shown:
        words = shlex.split(command, comments=True)
        if "broker.local" in words:
            words[words.index("broker.local")] = HOST
            words += ["-p", str(server.port)]
        done = run(*words)
        said = [" ".join(line.split()) for line in done.out.splitlines()]
        for line in output.splitlines():
            assert any(each.startswith(" ".join(line.split())) for each in said), (line, done.out)
