"""`python -m minincep` is `minincep`."""

from minincep.cli import main

main()
