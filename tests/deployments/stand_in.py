"""A stand-in for `manage.py api` with the same contract, for tests of what runs it. Standard library only.

STAND_IN chooses how it fails: exit (at once), unready (503 for ever), slow (listens after 2 s), stubborn
(ignores SIGTERM), port (says its port is taken, exit code 76). With STAND_IN_AT only where the database's URL
holds that text.
"""

import fcntl
import http.server
import json
import os
import signal
import sys
import time
from pathlib import Path

folder = Path(os.environ["AINDUS_REPLICA_DIR"])
mode = os.environ.get("STAND_IN", "")
if os.environ.get("STAND_IN_AT", "") not in Path(os.environ["DATABASE_URL_FILE"]).read_text():
    mode = ""


def log(message, level="INFO"):
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    print(f"{stamp} {level} stand_in {message}", flush=True)  # noqa: T201


lock = (folder / "lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(75)
if mode == "exit":
    log("cannot start: the setting FOO is missing", "ERROR")
    sys.exit(1)
if mode == "port":
    sys.exit(76)
if mode == "slow":
    time.sleep(2)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 503 if self.path == "/ready" and mode == "unready" else 200
        body = json.dumps({"detail": "database: does not answer"} if status == 503 else {"status": "ok"})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        log(args[0] % args[1:])


given = dict(argument.removeprefix("--").split("=") for argument in sys.argv[1:])
host, port = given["host"], int(given["port"])
try:
    server = http.server.ThreadingHTTPServer((host, port), Handler)
except OSError:
    sys.exit(76)
ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
record = {"pid": os.getpid(), "start_ticks": ticks, "port": port, "version": "0"}
(folder / "replica.json.new").write_text(json.dumps(record))
(folder / "replica.json.new").rename(folder / "replica.json")
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else lambda *_: sys.exit(0))
log(f"listens on {port}")
server.serve_forever()
