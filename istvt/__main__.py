"""`python -m istvt` is the command `istvt`."""

from istvt.cli import main

main()
