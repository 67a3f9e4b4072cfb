"""`python -m multidiff`, for torchrun: torchrun --nproc-per-node 8 -m multidiff train sfx size=base."""

from multidiff.cli import main

main()
