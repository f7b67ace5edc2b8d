"""PerCo, "Towards image compression with perfect realism at ultra-low bitrates" (Careil et al., arXiv 2310.10325)."""
