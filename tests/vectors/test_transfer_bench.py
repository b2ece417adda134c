"""The benchmark of transfers on a few generated documents: two targets, both formats, everything equal."""

import os
import subprocess
import sys

from psycopg.conninfo import make_conninfo

from tests.vectors.conftest import ROOT, server_url


def test_everything_out_of_one_target_and_into_another():
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("AINDUS_", "DATABASE_"))
    }
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "transfer.py", "--generated", "1200", "--queries", "40"],
        env=environment | {"DATABASE_URL": make_conninfo(server_url(), dbname="postgres")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[6:] for line in done.stdout.splitlines()[-2:]}
    equal = ["equal", "equal", "equal", "40/40"]
    assert rows == {"ndjson": equal, "parquet": equal}
