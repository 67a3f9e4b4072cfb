"""Inverse tasks: completion, measurements, editing, loops and long sequences, with any denoiser."""

from multidiff.core.inverse.completion import KNOWN_STREAM, Replacement, repaint_times
from multidiff.core.inverse.editing import ddim_inversion, inversion_edit, noisy_start, sdedit, slerp
from multidiff.core.inverse.methods import COMPLETIONS, EDITINGS, POSTERIORS, Completion, Edit, Editing, Plan, Posterior
from multidiff.core.inverse.operators import OPERATORS, Operator
from multidiff.core.inverse.posterior import DPS, MMPS, Measurement, PiGDM, ReconstructionGuidance
from multidiff.core.inverse.windows import Loop, Windows, is_local, local, sliding

__all__ = [
    "COMPLETIONS",
    "DPS",
    "EDITINGS",
    "KNOWN_STREAM",
    "MMPS",
    "OPERATORS",
    "POSTERIORS",
    "Completion",
    "Edit",
    "Editing",
    "Loop",
    "Measurement",
    "Operator",
    "PiGDM",
    "Plan",
    "Posterior",
    "ReconstructionGuidance",
    "Replacement",
    "Windows",
    "ddim_inversion",
    "inversion_edit",
    "is_local",
    "local",
    "noisy_start",
    "repaint_times",
    "sdedit",
    "slerp",
    "sliding",
]
