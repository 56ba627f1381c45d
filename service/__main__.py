"""`python -m service` is the command `kshot`."""

from service.cli import app

app()
