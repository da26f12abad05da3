"""Strategies and what becomes of them: the same class in a backtest, on paper and live."""
