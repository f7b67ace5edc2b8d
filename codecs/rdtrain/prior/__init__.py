"""Train a small latent diffusion model from a folder of images: the autoencoder, then the U-Net."""
