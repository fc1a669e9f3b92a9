"""What grows with devices, calls and nodes: measured, put into a model, and told in docs/scale.md."""
