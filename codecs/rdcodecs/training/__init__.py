"""Training, for all the models of this package: data, loop, states, log, settings."""
