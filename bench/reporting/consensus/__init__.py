"""Tables and charts of the report: consensus."""
