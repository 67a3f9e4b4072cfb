"""Distillation: a student, initialised from its teacher, learns to sample in few steps.

    progressive           one step lands where several of the teacher's land
    consistency           one estimate of x0 all along a path
    lcm                   the same over many levels
    consistency-training  the same without a teacher
    reflow                straight paths, from the teacher's own pairs
    dmd                   the teacher's law, by the difference of two scores

Each is called with a `Lesson`, who learns from whom, and `Examples`, and yields its losses, so that one training loop
runs all. The teacher may carry guidance, which the student then needs no longer.

Measured on a mixture in the plane with an exact teacher, straight paths, 600 steps of training (dmd: 600 with two of
the critic each), as the energy distance to exact samples; 0.001 is the resolution:

    in 4 steps, in 1             DDIM of the teacher 0.031, 0.76
    progressive                  <0.001, -        (a student of 4 steps is none of 1)
    consistency                  <0.001, <0.001
    lcm (50 levels)              0.007, 0.004
    consistency-training         0.004, 0.005     (levels 10 to 160; 12 throughout: 0.008, 0.024; 160: 0.014, 0.024)
    reflow (400 steps)           <0.001, 0.003
    dmd                          0.012, 0.005     (each by its own student; it needs a low learning rate)
"""

from multidiff.core.distill.consistency import Consistency, ConsistencyTraining, latent_consistency
from multidiff.core.distill.lesson import Distillation, Examples, Lesson
from multidiff.core.distill.matching import DistributionMatching
from multidiff.core.distill.progressive import Progressive
from multidiff.core.distill.reflow import Reflow
from multidiff.core.method import Method

DISTILLATIONS: dict[str, Method] = {
    "progressive": Method(Progressive, "one step for several of the teacher's", "Salimans and Ho 2022, 2202.00512"),
    "consistency": Method(Consistency, "one estimate along a path", "Song et al. 2023, 2303.01469"),
    "lcm": Method(latent_consistency, "one estimate along a path, over many levels", "Luo et al. 2023, 2310.04378"),
    "consistency-training": Method(ConsistencyTraining, "without a teacher", "Song and Dhariwal 2023, 2310.14189"),
    "reflow": Method(Reflow, "straight paths from the teacher's pairs", "Liu et al. 2022, 2209.03003"),
    "dmd": Method(DistributionMatching, "the teacher's law by two scores", "Yin et al. 2024, 2405.14867"),
}

__all__ = [
    "DISTILLATIONS",
    "Consistency",
    "ConsistencyTraining",
    "Distillation",
    "DistributionMatching",
    "Examples",
    "Lesson",
    "Progressive",
    "Reflow",
    "latent_consistency",
]
