"""The main job on real documents, from an empty data directory: bench/first_light --data DIR

DIR holds points.ndjson.gz, embeddings.f16.npy, queries.f16.npy and truth_top100.i32.npy. Exit status 0 only
if every step worked. Runs on a temporary data directory, unless AINDUS_DATA_DIR names one.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from controlplane.supervisor.preflight import free_port  # noqa: E402
from deployments.first_light import documents, installation  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of documents")
    parser.add_argument("--port", type=int, default=None, help="port of the web role (default: a free one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aindus-bench-") as folder:
        # PostgreSQL has another account when we are root.
        Path(folder).chmod(0o711)
        environment = {"AINDUS_DATA_DIR": str(Path(folder) / "data")} | dict(os.environ)
        faults = installation.run(
            environment=environment,
            manage=[sys.executable, str(ROOT / "manage.py")],
            host="127.0.0.1",
            port=options.port or free_port(),
            say=lambda line: print(line, flush=True),
            documents=documents.read(options.data),
        )
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
