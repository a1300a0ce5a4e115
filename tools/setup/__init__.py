"""What a checkout needs, and what is made of it: the environment, MicroPython, checks, packages."""
