"""The one order path, the same for paper and live."""
