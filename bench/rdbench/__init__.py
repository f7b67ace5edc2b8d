"""rdbench: rate-distortion evaluation for perceptual and generative image codecs."""

__version__ = "0.2.0"
