"""Live display of result files while runs write them."""
