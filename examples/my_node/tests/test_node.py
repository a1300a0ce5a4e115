"""node.py on a simulated board: what a season in a field does to it, in seconds."""

import json

import pytest


@pytest.fixture
def node(board, proxy, broker):
    """The board with its configuration: it reaches the broker through the proxy."""
    config = {"host": proxy.host, "port": proxy.port, "ssid": "home", "wifi_password": "secret"}
    config |= {"username": broker.username, "password": broker.password}
    board.put("config.json", config)
    board.set_network(ssid="home")
    board.set_inputs(adc={34: 20000})
    return board


def states(observer, count):
    """Return what the node told, once it told so much."""
    return [json.loads(text) for text in observer.wait_count("soil/1/state", count)]


def test_a_reading_at_each_wake(node, observer):
    node.run()
    node.set_inputs(adc={34: 31000})
    node.run()
    assert [state["moisture"] for state in states(observer, 2)] == [20000, 31000]


def test_an_order_waits_until_the_node_wakes(node, observer):
    node.run()
    observer.publish("soil/1/pump", "", qos=2)
    node.run()
    assert node.lines == ["doses 1 error None"]
    assert [change["value"] for change in node.changes(pin=5)] == [0, 0, 1, 0]
    node.run()
    assert [state["doses"] for state in states(observer, 3)] == [0, 0, 1]


@pytest.mark.parametrize("point", range(0, 1200, 150))
def test_the_power_is_cut(node, broker, observer, point):
    """Before some byte is written to the flash: the order is counted once all the same."""
    if not broker.behaviour.redelivers_unacknowledged:
        pytest.skip("this broker forgets what a cut connection did not acknowledge")
    node.run()
    observer.publish("soil/1/pump", "", qos=2)
    node.flash_dies_after(point)
    node.go_on()
    if node.wait_end(10).reason == "flash_died":
        node.cut_power()
    node.run(2)
    assert node.lines == ["doses 1 error None"]


def test_the_connection_is_cut(node, proxy, observer):
    """In the middle of a burst: the reading comes with a later wake."""
    node.run()
    proxy.cut_after(60, which="next")
    node.set_inputs(adc={34: 777})
    node.run()
    node.set_inputs(adc={34: 888})
    node.run()
    found = [state["moisture"] for state in states(observer, 3)]
    assert found[0] == 20000 and set(found[1:]) == {777, 888}


def test_no_network(node, observer):
    """A wake without Wi-Fi: its reading comes later. (It may wait longer between tries.)"""
    node.set_network(ssid="home", down=True)
    node.run()
    node.set_network(ssid="home")
    node.run(3)
    assert len(states(observer, 2)) >= 2
