"""Try to break the suite, and say what held: `python -m tests.campaign`, or `make campaign`."""

import argparse
import importlib
import importlib.util
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = [str(place) for place in (ROOT, ROOT / "bench", ROOT / "codecs", ROOT / "tests" / "support")]

PARTS = {
    "streams": (20_000, "damaged streams, over all codecs that are here"),
    "kills": (100, "runs that are killed and resumed"),
    "misbehaving": (40, "codecs that misbehave, one by one"),
}
"""Module beside this one, with `run(count, seed)` → how many by default, and what they are."""


def main() -> int:
    """Run what the command line asks for; return 1 where anything did not hold."""
    # This checkout, whatever is installed; child processes inherit it.
    sys.path[:0] = PLACES
    os.environ["PYTHONPATH"] = os.pathsep.join([*PLACES, *filter(None, [os.environ.get("PYTHONPATH")])])
    from tests.campaign.figures import Figures, table

    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    for part, (count, what) in PARTS.items():
        parser.add_argument(f"--{part}", type=int, default=count, metavar="N", help=f"{what} (default {count:,})")
    parser.add_argument("--seed", type=int, default=0, help="the same seed tries the same (default 0)")
    arguments = parser.parse_args()

    figures: list[Figures] = []
    absent = []
    start = time.monotonic()
    for part in PARTS:
        count = getattr(arguments, part)
        if count < 1:
            continue
        name = f"tests.campaign.{part}"
        if importlib.util.find_spec(name) is None:
            absent.append(part)
            continue
        print(f"{part}: {count:,} ...", file=sys.stderr, flush=True)
        made = importlib.import_module(name).run(count, arguments.seed)
        figures += [made] if isinstance(made, Figures) else made
    print(table(figures))
    for part in absent:
        print(f"{part}: not there")
    print(f"seed {arguments.seed}, {(time.monotonic() - start) / 60:.0f} minutes", file=sys.stderr)
    return 0 if all(item.good for item in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
