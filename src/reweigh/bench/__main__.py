"""`python -m reweigh.bench GROUP...`: as `reweigh bench`, without what the command line needs."""

import argparse
import sys

from reweigh.bench import GROUPS, main
from reweigh.errors import ReweighError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m reweigh.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"all by default: {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    try:
        main(options.groups, options.rounds)
    except ReweighError as error:
        sys.exit(f"reweigh: {error}")
