"""Audio: log-mel latents, a diffusion transformer over time, and a vocoder."""
