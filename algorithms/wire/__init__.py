"""How rows travel between workers: schedules, the carrier, the exchange, and their observers."""
