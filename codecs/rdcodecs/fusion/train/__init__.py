"""Train adapter and fusion: stage 2 of the fusion codec."""
