"""Tables and charts of the report: scaling."""
