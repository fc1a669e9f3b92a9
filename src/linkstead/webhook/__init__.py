"""Push over HTTP: messages of devices as signed POST requests, each until the receiver has taken it."""
