"""What is said of result files: tables, charts, the page."""
