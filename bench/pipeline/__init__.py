"""Program that draws pipelines: `python -m bench.pipeline`."""
