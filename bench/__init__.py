"""The programs, and behind them the machinery."""

__version__ = "0.1.0"
