"""Ablation of a trained codec: which part of its decoder costs how much quality."""
