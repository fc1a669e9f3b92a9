"""`python -m linkstead` is the same as `linkstead`."""

from linkstead.cli import main

main()
