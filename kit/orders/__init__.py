"""What an order is and what it does to an account. Pure: no socket, clock, thread or file."""
