"""The verbs that join the command line of rdbench: `train` and `diagnose`."""
