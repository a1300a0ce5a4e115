"""Programs for the desk: `make help` tells which; each starts as `python -m tools.board.deploy`."""
