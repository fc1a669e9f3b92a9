"""The vendor's request as data: parameters, signatures, replay, quotas, and answers rendered as JSON or XML."""
