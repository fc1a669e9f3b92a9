"""What the API explorer stands on: every action described as data, programs that call it, and how it is signed."""
