"""What a target raises."""


class Wrong(Exception):
    """What must not be."""
