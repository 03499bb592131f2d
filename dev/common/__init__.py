"""What commands share: files, child processes, progress."""
