"""papertape: explore markets, prototype strategies and paper-trade from a notebook."""

__version__ = "0.1.0"
