"""A learned codec with a hyperprior: encoder and entropy model of `fusion`, and a baseline of its own."""
