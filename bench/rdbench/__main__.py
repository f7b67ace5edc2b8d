"""`python -m rdbench`."""

from rdbench.cli import main

raise SystemExit(main())
