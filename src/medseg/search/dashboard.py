"""`medseg search --dashboard`: optuna-dashboard on a study's storage, for this machine alone."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from loguru import logger

from medseg.errors import UserError, nearest

HOST, PORTS = "127.0.0.1", range(8080, 8100)


def dashboard(url: str, study: str) -> dict[str, Any]:
    """Serve until Ctrl-C or SIGTERM.

    Raises `UserError` where it is not installed, for an unknown study, and without a free port.
    """
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise UserError(
            "--dashboard: optuna-dashboard is not installed; pip install optuna-dashboard"
        ) from None
    from medseg.search.study import open_storage

    storage = open_storage(url, 120)
    known = {each.study_name: each for each in storage.get_all_studies()}
    if study not in known:
        raise UserError(
            f"--study {study}: not in this storage{nearest(study, known)}; it has"
            f" {', '.join(known) or 'none'}"
        )
    port = free_port()
    logger.info(f"http://{HOST}:{port}/dashboard/studies/{known[study]._study_id} (Ctrl-C ends it)")
    with suppress(KeyboardInterrupt):  # the wish of the user
        run_server(storage, host=HOST, port=port)
    return {}


def free_port() -> int:
    """The first of `PORTS` that nobody listens on."""
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UserError(
        f"--dashboard: no free port from {PORTS[0]} to {PORTS[-1]} on {HOST}; end one of the"
        " programs there"
    )
