"""Compressors of exchanged rows, one module each, and their registry COMPRESSORS."""

from algorithms.compressors.identity import Identity
from algorithms.compressors.protocol import Compressor
from algorithms.compressors.qsgd import QSGD
from algorithms.compressors.random_k import RandomK
from algorithms.compressors.sign import Sign
from algorithms.compressors.top_k import TopK

COMPRESSORS: dict[str, type[Compressor]] = {
    "identity": Identity,
    "sign": Sign,
    "top_k": TopK,
    "random_k": RandomK,
    "qsgd": QSGD,
}
"""Registry of compressors by name."""
