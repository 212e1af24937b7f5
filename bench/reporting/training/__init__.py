"""Tables and charts of training runs."""
