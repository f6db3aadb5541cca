"""`python -m cimeu` is `cimeu`."""

from cimeu.cli.main import main

main()
