"""Pipelines, one module each, and their registry PIPELINES."""

from algorithms.pipelines.gpipe import GPipe
from algorithms.pipelines.interleaved import Interleaved
from algorithms.pipelines.one_f_one_b import OneFOneB
from algorithms.pipelines.pipedream import PipeDream
from algorithms.pipelines.protocol import Pipeline
from algorithms.pipelines.zb_h1 import ZeroBubbleH1

PIPELINES: dict[str, type[Pipeline]] = {
    "gpipe": GPipe,
    "1f1b": OneFOneB,
    "interleaved": Interleaved,
    "zb_h1": ZeroBubbleH1,
    "pipedream": PipeDream,
}
"""Pipeline by name."""
