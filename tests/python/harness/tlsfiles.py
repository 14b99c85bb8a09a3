"""PEM files for programs that are TLS peers, and the contexts that trust them."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Files:
    """``ca.pem``, ``server.pem``, ``client.pem``: an authority, and certificates with their keys."""

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        self.folder = folder
        self.ca, self.server, self.client = (str(folder / name) for name in ("ca.pem", "server.pem", "client.pem"))
        authority.cert_pem.write_to_path(self.ca)
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(self.server)
        authority.issue_cert("trader@example.org").private_key_and_cert_chain_pem.write_to_path(self.client)

    def server_context(self) -> ssl.SSLContext:
        """A server's context that requires a certificate, and knows the application protocol ``echo``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["echo"])
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's context, with a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.client)
        context.set_alpn_protocols(["echo"])
        return context
