"""Tables and charts of the report: collectives."""
