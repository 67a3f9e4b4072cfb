"""Measure a model against real, held-out files: its samples, its completions of their parts, or its codec alone.

Every figure stands beside its floor: the same metrics between real files (two disjoint halves of them, or for
completions what the medium has for that), and beside what sets that are known to be wrong, or simpler ways, would get.
"""

from multidiff.evaluate.codecs import CodecReport, evaluate_codec
from multidiff.evaluate.completions import CompletionReport, evaluate_completion
from multidiff.evaluate.samples import Report, evaluate

__all__ = ["CodecReport", "CompletionReport", "Report", "evaluate", "evaluate_codec", "evaluate_completion"]
