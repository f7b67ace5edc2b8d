"""What the trainings of all models share: data, loop, states, optimiser, log, settings."""
