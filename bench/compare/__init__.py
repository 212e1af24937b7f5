"""What bench.compare is made of: numbers of launches, their cases, the test, the verdict."""
