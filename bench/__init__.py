"""The programs, and behind them the machinery."""

__version__ = "0.3.0"
