"""What the market looks like. Pure: no socket, clock, thread or file."""
