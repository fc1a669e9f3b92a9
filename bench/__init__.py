"""The benchmark: Linkstead, the floor and the peers in turn in one run, and the guard of what was reached."""
