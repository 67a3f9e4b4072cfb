"""Video: pixel-unshuffled or latent frames and a factorised space-time U-Net."""
