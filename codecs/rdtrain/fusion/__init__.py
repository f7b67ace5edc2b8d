"""Train adapter and fusion (stage 2) and the enhancer (stage 3) of the fusion codec."""
