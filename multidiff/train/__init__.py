"""Training: one loop for every medium and objective."""
