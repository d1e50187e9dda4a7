"""`python -m fashreg` is `fashreg`."""

from fashreg.cli import main

main()
