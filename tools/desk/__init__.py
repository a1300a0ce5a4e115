"""Without a board: the demo, and what is proved and measured on simulated ones."""
