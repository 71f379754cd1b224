"""`python -m reweigh.cli COMMAND`: the command line where no `reweigh` is installed."""

from reweigh.cli import main

main()
