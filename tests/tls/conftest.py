from linkstead.tls.contexts import has_psk

# A client with a pre-shared key needs the same Python as the server.
collect_ignore = [] if has_psk() else ["test_psk.py"]
