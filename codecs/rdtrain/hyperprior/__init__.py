"""Train the hyperprior: stage 1 of the fusion codec."""
