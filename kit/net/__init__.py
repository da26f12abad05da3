"""Sockets, HTTP and threads: the edge towards the venues."""
