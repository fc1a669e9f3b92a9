"""Server-side subscription over AMQP 1.0: consumers attach a receiver link and are sent what waits for their group."""
