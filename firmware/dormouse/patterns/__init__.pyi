"""Types of patterns/."""
