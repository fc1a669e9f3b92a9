"""The chapter of the reference about devices."""

from linkstead.actions.device import applications, certificates, listings, queries, registration, status, tags

ACTIONS = (
    *registration.ACTIONS,
    *applications.ACTIONS,
    *queries.ACTIONS,
    *listings.ACTIONS,
    *status.ACTIONS,
    *tags.ACTIONS,
    *certificates.ACTIONS,
)
