# Everything goes through .venv, which tools/setup/bootstrap.py makes when it is missing or out of date.
#   make test ARGS="-k session -x"      ARGS is passed on to the program behind a target
#   make PYTHON=python3.12 test         another Python to make .venv with (3.11 or later)
#   make deploy BOARD=ESP32_GENERIC     PORT is found if one board is there; DRY_RUN=1 only prints

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
ARGS ?=

# An option for a tool, if the variable is given. PORT may stand in an environment for something
# else (PORT=8080): there it is only taken if it looks like a serial port.
given = $(if $($(2)),--$(1) '$($(2))')
said = $(if $(filter command,$(origin $(2))),--$(1) '$($(2))')  # shells may have HOST of their own
port = $(if $(filter command,$(origin PORT))$(findstring /,$(PORT))$(filter COM%,$(PORT)),\
	--port '$(PORT)')
dry_run = $(if $(filter-out 0,$(DRY_RUN)),--dry-run)
wait = $(if $(filter-out 0,$(WAIT)),--wait)  # for a board that sleeps, and has no port then

.DEFAULT_GOAL := help
.PHONY: conformance help demo run test prove explore fuzz wake size lint clean bootstrap bootstrap-board flash deploy hil \
	mip-index plan provision ota console logs bridge

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

bootstrap:
	@$(PYTHON) tools/setup/bootstrap.py

demo: bootstrap  ## the device code on a simulated board against a broker, on this desk
	@$(VENV_PYTHON) -m tools.desk.demo $(ARGS)

run: bootstrap  ## a program on the simulated board, with a console: PROGRAM= BOARD= ARGS=--fast
	@$(VENV_PYTHON) -m tools.desk.run $(call given,board,BOARD) $(ARGS) '$(PROGRAM)'

bootstrap-board:
	@$(PYTHON) tools/setup/bootstrap.py --board

flash: bootstrap-board  ## MicroPython's firmware onto a board: BOARD= FIRMWARE= PORT= DRY_RUN=1
	@$(VENV_PYTHON) -m tools.board.flash $(call given,board,BOARD) $(port) \
		$(call given,firmware,FIRMWARE) $(call given,drive,DRIVE) $(dry_run) $(ARGS)

deploy: bootstrap-board  ## dormouse and main.py onto a board: BOARD= PORT= MAIN= WAIT=1 DRY_RUN=1
	@$(VENV_PYTHON) -m tools.board.deploy $(call given,board,BOARD) $(port) $(wait) $(call given,main,MAIN) \
		$(dry_run) $(ARGS)

provision: bootstrap-board  ## Wi-Fi, broker ... into config.json on a board: BOARD= PORT= NO_TEST=1
	@$(VENV_PYTHON) -m tools.board.provision $(call given,board,BOARD) $(port) $(wait) \
		$(if $(filter-out 0,$(NO_TEST)),--no-test) $(dry_run) $(ARGS)

ota: bootstrap-board  ## an update through MQTT: HOST= TOPIC= MAIN= FILES= DRY_RUN=1
	@$(VENV_PYTHON) -m tools.board.ota $(call said,host,HOST) $(call said,port,PORT) \
		$(call said,topic,TOPIC) \
		$(call given,main,MAIN) $(foreach file,$(FILES),--file '$(file)') $(dry_run) $(ARGS)

console: bootstrap-board  ## the REPL of a board: PORT=, or BOARD=; Ctrl-] ends it
	@$(VENV_PYTHON) -m tools.board.console $(call given,board,BOARD) $(port) $(wait) $(dry_run) $(ARGS)

logs: bootstrap-board  ## what a board prints, its program left alone: PORT=, or BOARD=
	@$(VENV_PYTHON) -m tools.board.console --logs $(call given,board,BOARD) $(port) $(wait) $(dry_run) $(ARGS)

bridge: bootstrap-board  ## a serial line to a broker: PORT=/dev/ttyUSB0 HOST=broker.local
	@$(VENV_PYTHON) -m tools.board.bridge $(port) $(call said,host,HOST) $(ARGS)

hil: bootstrap-board  ## the scenarios on a real board: BOARD= PORT= HOST= DRY_RUN=1 ARGS="-k ..."
	@$(VENV_PYTHON) -m tools.board.hil $(call given,board,BOARD) $(port) $(wait) $(call said,host,HOST) \
		$(dry_run) $(ARGS)

plan: bootstrap  ## bytes, waits, battery: BOARD= BATTERY=mAh PERIOD=s AWAKE_MS= AWAKE_MA= ASLEEP_UA=
	@$(VENV_PYTHON) -m tools.command plan $(call given,board,BOARD) $(call given,battery,BATTERY) \
		$(call given,period,PERIOD) $(call given,awake-ms,AWAKE_MS) \
		$(call given,awake-ma,AWAKE_MA) $(call given,asleep-ua,ASLEEP_UA) $(ARGS)

mip-index: bootstrap  ## package.json, and an index of parts for mip, in build/mip; DRY_RUN=1
	@$(VENV_PYTHON) -m tools.setup.mip_index $(dry_run) $(ARGS)

test: bootstrap-board  ## all tests, on every runtime and broker that can be had; ARGS goes to pytest
	@$(VENV_PYTHON) -m tools.setup.get --keep-going all
	$(VENV_PYTHON) -m pytest host_tests -n 4 $(ARGS)

prove: explore  ## explore; then whole lives with a cut at every byte; ARGS="--stride 20"
	@$(VENV_PYTHON) -m tools.desk.prove $(ARGS)

explore: bootstrap  ## every order of events up to bounds, millions of states; EXPLORE="-k REGEX"
	@$(VENV_PYTHON) -m tools.desk.explore $(EXPLORE)

fuzz:  ## bytes of all kinds against what reads bytes: SECONDS=600 ARGS="session5 --exhaustive 3"
	@$(PYTHON) tools/setup/bootstrap.py --fuzz
	@$(VENV_PYTHON) -m tools.desk.fuzz $(call said,seconds,SECONDS) $(ARGS)

wake: bootstrap  ## what a wake costs: turnarounds, bytes, wear of the flash
	@$(VENV_PYTHON) -m tools.desk.wake $(ARGS)

size: bootstrap  ## what the library costs on the device: flash and RAM
	@$(VENV_PYTHON) -m tools.desk.size $(ARGS)

conformance: bootstrap  ## which test shows which statement of the standards; ARGS=--write
	@$(VENV_PYTHON) -m tools.setup.conformance $(ARGS)

lint:  ## style, types, .pyi files; names that MicroPython's modules have not
	@$(PYTHON) tools/setup/bootstrap.py --lint
	@$(VENV_PYTHON) -m tools.setup.lint $(ARGS)

clean:  ## remove what was built and tested (.venv and .cache, which cost a download, stay)
	rm -rf build .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name __pycache__ -prune -exec rm -rf {} +
	find . -path ./.venv -prune -o -path ./.cache -prune -o -name '*.mpy' -exec rm -f {} +
