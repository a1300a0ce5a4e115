"""A real board: firmware, library, configuration, console, updates, the scenarios on it."""
