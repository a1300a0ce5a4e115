"""The library's types are complete, and say which options there are."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from dormouse.kinds import choose
from dormouse.mqtt5.request import Requester
from dormouse.mqtt5.session import Session5
from dormouse.session import Session
from dormouse.store.durable import durable

from tools import parts
from tools.testing import runtimes

LIBRARY = runtimes.ROOT / "firmware" / "dormouse"
PROGRAMS = [runtimes.ROOT / "host_tests" / f"typed_{name}.py" for name in ("program", "mistakes")]
# No user imports these.
INTERNAL = {"kinds", "mistakes", "mqtt5/convert", "mqtt5/server"}
PUBLIC = sorted(set(parts.every()) - INTERNAL)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def unannotated(tree: ast.Module) -> list[str]:
    """Return where a type is missing: parameters, results, variables."""
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, Function):
            a = node.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
            for argument in every:
                if argument and not argument.annotation and argument.arg != "self":
                    missing.append(f"{node.name}({argument.arg})")
            if not node.returns:
                missing.append(f"{node.name}: what it returns")
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        for node in scope.body:
            # An alias (of types, so for the .pyi only) has a name that begins with "_".
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0])[0] != "_":
                missing.append(ast.unparse(node))
    return missing


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_annotated(name: str) -> None:
    path = LIBRARY / f"{name}.pyi"
    assert path.exists(), (
        f"{name}.py is public and has no types for users: write {path.name}\n"
        f"(.venv/bin/python -m mypy.stubgen firmware/dormouse/{name}.py -o build begins one)"
    )
    assert unannotated(ast.parse(path.read_text())) == []


def test_what_is_looked_for() -> None:
    """A type that is missing anywhere is found."""
    whole = "class A:\n    n: int\n    def f(self, a: int, *b: int, c: int, **d: int) -> int: ...\n"
    assert unannotated(ast.parse(whole)) == []
    for part in ("a: int", "b: int", "c: int", "d: int"):
        assert len(unannotated(ast.parse(whole.replace(part, part[0])))) == 1, part
    assert len(unannotated(ast.parse(whole.replace("-> int", "")))) == 1
    assert unannotated(ast.parse(whole.replace("n: int", "n = 1"))) == ["n = 1"]


def test_no_stub_without_module() -> None:
    found = {path.relative_to(LIBRARY).with_suffix("") for path in LIBRARY.rglob("*.pyi")}
    assert {path.as_posix() for path in found} == set(PUBLIC)
    assert (LIBRARY / "py.typed").exists()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_typed_programs_use_all(program: Path) -> None:
    """`make lint` looks at these; mistakes are not made with what is only read or raised."""
    text = program.read_text()
    used = {"client"} | {name for name in PUBLIC if name.endswith("__init__")}
    statement = r"^from dormouse\.?([\w.]*) import \(?((?<=\()[^)]*|[^\n]*)"
    for module, names in re.findall(statement, text, re.M):
        path = module.replace(".", "/")
        every = [name.split()[0] for name in names.split(",") if name.strip()]
        used |= {path, *(f"{path}/{name}".lstrip("/") for name in every)}
        stub = LIBRARY / path / "__init__.pyi"
        if stub.exists():  # names of a package stand for the modules that have them
            for home, name in re.findall(
                r"^from \.(\w+) import \w+ as (\w+)", stub.read_text(), re.M
            ):
                used |= {f"{path}/{home}".lstrip("/")} if name in names else set()
    used |= {n.replace(".", "/") for n in re.findall(r"^import dormouse\.([\w.]+)", text, re.M)}
    seldom = {"packet", "stream", "expiry", "store/durable", "store/nvs"}
    seldom |= {"mqtt5/packet", "mqtt5/session", "large/sending", "large/taking"}
    assert set(PUBLIC) - {
        "session",
        "resume",
        "text",
        "trouble",
        "store/room",
        "sleep/mistakes",
        "field/safe",
        "field/mend",
        "field/watchdog",
    } - used <= (seldom if "mistakes" in program.stem else set())


# --- options: stubtest cannot know what becomes of **options


def in_stub(module: str, of: str, function: str) -> dict[str, object]:
    """Return the keyword-only arguments of a method in a .pyi, and their defaults."""
    for node in ast.parse((LIBRARY / f"{module}.pyi").read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == of:
            for method in node.body:
                if isinstance(method, Function) and method.name == function:
                    a = method.args
                    return {
                        argument.arg: ast.literal_eval(default or ast.Constant(None))
                        for argument, default in zip(a.kwonlyargs, a.kw_defaults, strict=True)
                    }
    raise AssertionError(f"no {of}.{function} in {module}.pyi")


def in_code(*functions: object, without: str = "") -> dict[str, object]:
    """Return the arguments that have a default, of functions that pass the rest on."""
    found: dict[str, object] = {}
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():  # type: ignore[arg-type]
            if parameter.default is not parameter.empty and name not in without.split():
                found.setdefault(name, parameter.default)
    return found


def test_options_of_client() -> None:
    kinds = (choose, Session.__init__, durable().__init__, Session5.__init__)
    code = in_code(*kinds, without="client_id timeout pid owner")
    assert in_stub("client", "Client", "__init__") == code


PROPERTIES = {  # a PUBLISH's that an application gives: section 3.3.2.3 of MQTT 5.0
    "payload_format",
    "content_type",
    "response_topic",
    "correlation_data",
    "user_properties",
}


def test_options_of_publish() -> None:
    """Each property is one that the session takes; a wrong name is refused by both."""
    session = Session5(lambda: None, "id")
    values = {"payload_format": 1, "user_properties": [("a", "b")]}
    for name in PROPERTIES:
        session.publish("t", **{name: values.get(name, "x")})
    expected = dict.fromkeys({*PROPERTIES, "message_expiry"})
    for module, of, function in (
        ("client", "Client", "publish"),
        ("client", "Client", "publish_nowait"),
        ("sleep/node", "Node", "publish"),
    ):
        assert in_stub(module, of, function) == expected
    own = in_code(Session5.publish, without="payload qos retain")
    assert in_stub("mqtt5/session", "Session5", "publish") == dict.fromkeys({*expected} - {*own})
    given = in_code(Requester.request)
    assert in_stub("mqtt5/request", "Requester", "request") == {
        **dict.fromkeys({*expected} - {"response_topic", "correlation_data"} - {*given}),
        "retain": False,
    }


def test_options_of_requests() -> None:
    expected = in_code(Session5.request)
    assert in_stub("client", "Client", "subscribe") == {"qos": 0, **expected}
    assert in_stub("client", "Client", "unsubscribe") == {"user_properties": None}
    session = Session5(lambda: None, "id", session_expiry=60)
    values = {"session_expiry": 60, "reason_string": "x", "user_properties": [("a", "b")]}
    session.state = 2
    session.disconnect(0, **values)
    expected = {"code": 0, **dict.fromkeys(values)}
    assert in_stub("client", "Client", "disconnect") == expected
    assert in_stub("mqtt5/session", "Session5", "disconnect") == dict.fromkeys(values)
