"""The attentive-fusion diffusion codec of "Generative Image Coding with Diffusion Prior" (arXiv 2509.13768)."""
