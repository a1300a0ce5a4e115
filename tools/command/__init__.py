"""The `dormouse` command: one module for each subcommand, what they share in ``shared``.

The client in it is the one that runs on the chip.
"""
