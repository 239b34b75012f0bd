"""A PostgreSQL server of the test's own on a free port of the loopback interface."""

import glob
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest


def binaries():
    """The folder of initdb and postgres, or a skip that says what to install."""
    found = [
        os.path.dirname(path) for path in sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    ]
    found += [os.path.dirname(os.path.realpath(path))] if (path := shutil.which("initdb")) else []
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    return found[-1]


@contextmanager
def server(folder):
    """The URL of an empty database; the cluster lives in `folder` and ends with the block."""
    pytest.importorskip("psycopg", reason="no driver: pip install 'psycopg[binary]'")
    place, user = binaries(), {}
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = {"user": "nobody", "group": "nogroup"}
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = folder / "cluster"
    plain = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    made = subprocess.run(
        [f"{place}/initdb", "-D", cluster, "-U", "medseg", "--auth", "trust", "--no-sync"],
        cwd=folder,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
        **user,
    )
    assert made.returncode == 0, made.stderr
    process = subprocess.Popen(
        [
            f"{place}/postgres",
            "-D",
            cluster,
            "-p",
            str(port),
            "-h",
            "127.0.0.1",
            "-k",
            folder,
            "-F",
        ],
        cwd=folder,
        env=plain,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **user,
    )
    try:
        until = time.monotonic() + 60
        while True:
            ready = subprocess.run(
                [f"{place}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "2"],
                check=False,
            )
            if ready.returncode == 0:
                break
            assert process.poll() is None, "the server ended at once"
            assert time.monotonic() < until, "the server did not answer within a minute"
            time.sleep(0.1)
        yield f"postgresql://medseg@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown
        process.wait(60)
