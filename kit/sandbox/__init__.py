"""The embedded exchange: Binance Spot's wire protocol on loopback, with a market and faults of its own."""
