# Everything goes through .venv, which tools/setup/bootstrap.py makes when it is missing or out of date.
#   make test ARGS="-k session -x"      ARGS is passed on to the program behind a target
#   make PYTHON=python3.12 test         another Python to make .venv with (3.11 or later)
#   make deploy BOARD=ESP32_GENERIC     PORT is found if one board is there; DRY_RUN=1 only prints

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
# What a tool is given goes through the environment, as it stands there, and is put together by
# tools/make.py: so no value is read by a shell, nor by make. Never paste one into a recipe.
VARIABLES := ARGS ASLEEP_UA AWAKE_MA AWAKE_MS BATTERY BOARD DRIVE DRY_RUN EXPLORE FILES FIRMWARE \
	HOST KEY MAIN MODULE N NO_TEST PERIOD PORT PROGRAM SECONDS TESTS TOPIC WAIT
unexport $(VARIABLES)
$(foreach name,$(VARIABLES),$(eval export GIVEN_$(name) := $$(value $(name))))
$(foreach name,$(VARIABLES),$(eval export GIVEN_$(name)_FROM := $$(origin $(name))))
tool = $(VENV_PYTHON) -m tools.make

.DEFAULT_GOAL := help
.PHONY: attack bench bootstrap bootstrap-board bridge check chip clean conformance console demo deploy \
	docs explore flash fuzz help hil interop lint lock logs mip-index mutants ota ota-key plan prove \
	provision run size soak test test-long wake

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

bootstrap:
	@$(PYTHON) tools/setup/bootstrap.py

demo: bootstrap  ## the device code on a simulated board against a broker, on this desk
	@$(tool) $@

run: bootstrap  ## a program on the simulated board, with a console: PROGRAM= BOARD= ARGS=--fast
	@$(tool) $@

bootstrap-board:
	@$(PYTHON) tools/setup/bootstrap.py --board

flash: bootstrap-board  ## MicroPython's firmware onto a board: BOARD= FIRMWARE= PORT= DRY_RUN=1
	@$(tool) $@

deploy: bootstrap-board  ## dormouse and main.py onto a board: BOARD= PORT= MAIN= WAIT=1 DRY_RUN=1
	@$(tool) $@

provision: bootstrap-board  ## Wi-Fi, broker ... into config.json on a board: BOARD= PORT= NO_TEST=1
	@$(tool) $@

ota-key: bootstrap-board  ## the key that updates are signed with: KEY= ARGS="--bits 3072 --passphrase"
	@$(tool) $@

ota: bootstrap-board  ## an update through MQTT: HOST= TOPIC= MAIN= FILES= DRY_RUN=1
	@$(tool) $@

console: bootstrap-board  ## the REPL of a board: PORT=, or BOARD=; Ctrl-] ends it
	@$(tool) $@

logs: bootstrap-board  ## what a board prints, its program left alone: PORT=, or BOARD=
	@$(tool) $@

bridge: bootstrap-board  ## a serial line to a broker: PORT=/dev/ttyUSB0 HOST=broker.local WAIT=1 DRY_RUN=1
	@$(tool) $@

hil: bootstrap-board  ## the scenarios on a real board: BOARD= PORT= HOST= DRY_RUN=1 ARGS="-k ..."
	@$(tool) $@

plan: bootstrap  ## bytes, waits, battery: BOARD= BATTERY=mAh PERIOD=s AWAKE_MS= AWAKE_MA= ASLEEP_UA=
	@$(tool) $@

mip-index: bootstrap  ## package.json, and an index of parts for mip, in build/mip; DRY_RUN=1
	@$(tool) $@

test: bootstrap-board  ## all tests, on every runtime and broker that can be had; ARGS goes to pytest
	@$(VENV_PYTHON) -m tools.setup.get --keep-going all
	@$(tool) $@

mutants:  ## small faults in a device module, and which tests notice: MODULE=sleep/node N=40
	@$(PYTHON) tools/setup/bootstrap.py --mutants
	@$(tool) $@

test-long: bootstrap-board  ## what make test leaves out for its time; TESTS goes to pytest
	@$(VENV_PYTHON) -m tools.setup.get --keep-going all
	@$(tool) $@

prove: explore test-long  ## explore, test-long, then whole lives with a cut at every byte; ARGS="--stride 20"
	@$(tool) $@

explore: bootstrap  ## every order of events up to bounds, millions of states; EXPLORE="-k REGEX"
	@$(tool) $@

attack: bootstrap  ## updates under attack by who has no key: 500 rounds; ARGS="--rounds 50"
	@$(tool) $@

fuzz:  ## bytes of all kinds against what reads bytes: SECONDS=600 ARGS="session5 --exhaustive 3"
	@$(PYTHON) tools/setup/bootstrap.py --fuzz
	@$(tool) $@

interop: bootstrap  ## other brokers, as real processes: aedes, RabbitMQ, ejabberd, mosquitto; ARGS goes to pytest
	@$(tool) $@

soak: bootstrap  ## clients and nodes under load, a fault every 200 messages; ARGS="--minutes 20"
	@$(tool) $@

wake: bootstrap  ## what a wake costs: turnarounds, bytes, wear of the flash
	@$(tool) $@

chip: bootstrap-board  ## instructions and bytes of each operation, on emulated chips; ARGS=--write
	@$(tool) $@

bench: bootstrap-board  ## CPU time of a message beside other clients; plots in build/bench; ARGS=--write
	@$(tool) $@

size: bootstrap  ## what the library costs on the device: flash and RAM
	@$(tool) $@

conformance: bootstrap  ## which test shows which statement of the standards; ARGS=--write
	@$(tool) $@

check:  ## under a minute: style and types of what changed, the core on three runtimes
	@$(PYTHON) tools/setup/bootstrap.py --lint
	@$(tool) $@

docs:  ## the documents as a site, its reference from types and docstrings; ARGS=--serve
	@$(PYTHON) tools/setup/bootstrap.py --docs
	@$(tool) $@

lint:  ## style, types, .pyi files; names that MicroPython's modules have not
	@$(PYTHON) tools/setup/bootstrap.py --lint
	@$(tool) $@

lock:  ## the versions and hashes that pip and npm may bring; ARGS=--upgrade
	@$(PYTHON) tools/setup/bootstrap.py --lock
	@$(tool) $@

# (What stays in build/ota are the numbers of updates that were sent with a secret: one that is used
# twice is taken by no node.)
clean:  ## remove what was built and tested (.venv and .cache, which cost a download, stay)
	test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name ota -exec rm -rf {} +
	rm -rf build/ota/library .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name __pycache__ -prune -exec rm -rf {} +
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name '*.mpy' -exec rm -f {} +
