"""Types of compat/."""
