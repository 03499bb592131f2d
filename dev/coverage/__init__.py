"""The lines and branches that no test reaches, and why."""
