"""Linkstead: a self-hosted server for calling devices, compatible with Alibaba Cloud IoT Platform's protocol."""

__version__ = "0.1.0"
