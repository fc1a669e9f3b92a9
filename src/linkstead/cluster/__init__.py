"""Several nodes as one Linkstead: which of them holds a device, and calls from any of them to it."""
