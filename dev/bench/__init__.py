"""What copies cost a PMD thread, and the switch."""
