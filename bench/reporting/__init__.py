"""Reports of result files: tables, charts and the page."""
