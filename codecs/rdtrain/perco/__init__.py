"""Train PerCo: hyper-encoders, codebooks and the whole U-Net of a prior, for several rate points at once."""
