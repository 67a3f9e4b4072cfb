"""Blocks with no diffusion and no media in them."""
