"""What a training takes: threads, steps, time."""
