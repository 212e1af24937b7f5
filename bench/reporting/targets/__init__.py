"""Tables and charts of the report: targets."""
