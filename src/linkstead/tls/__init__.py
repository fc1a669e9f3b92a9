"""TLS of every port: what is spoken, with which certificate, and how a certificate is made."""
