"""The testing kit: what a test needs to turn the clock."""
