"""What every program shares and that imports nothing of ours: errors, specs, output, words."""
