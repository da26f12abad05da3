"""Venues' languages, one codec each. Pure: bytes in, events out; intents in, requests out."""
