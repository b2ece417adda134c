"""Replicas that are tiny HTTP servers of this process, whose answers a test changes."""

import http.server
import threading

from deployments.models import Release, Replica, ReplicaStatus, Target, TargetStatus
from worker.engine import database_now


class FakeReplica:
    """Answers GET by `answers` (path -> (status, body)); `hold` lets a request wait until `go_on` is set."""

    def __init__(self):
        self.answers = {"/ready": (200, b'{"status": "ready"}'), "/metrics": (200, b"")}
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append(self.path)
                if fake.hold.is_set():
                    fake.entered.set()
                    fake.go_on.wait(10)
                status, body = fake.answers[self.path]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                """A caller that gave up is no error here."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True)
        self.thread.start()

    def says(self, path: str, status: int, body: str) -> None:
        self.answers[path] = (status, body.encode())

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Fleet:
    """Makes targets and their replicas, as rows with a fake behind each."""

    def __init__(self, project):
        self.project = project
        self.fakes: dict[str, FakeReplica] = {}
        self.release = Release.objects.create(
            project=project, number=1, image="a:1", digest="d", created_by="test"
        )

    def target(self, name: str = "one", **values) -> Target:
        defaults = {
            "provider": "local",
            "region": "local",
            "status": TargetStatus.READY,
            "release": self.release,
            "ready_at": database_now(),
            "created_by": "test",
        }
        return Target.objects.create(project=self.project, name=name, **defaults | values)

    def replica(self, target: Target, status: str = ReplicaStatus.READY, **values) -> Replica:
        fake = FakeReplica()
        replica = Replica.objects.create(
            target=target, release=self.release, status=status, port=fake.port, **values
        )
        self.fakes[replica.pk] = fake
        return replica

    def serving(self, name: str = "one", count: int = 2, **values) -> tuple[Target, list[Replica]]:
        target = self.target(name, desired_replicas=count, **values)
        return target, [self.replica(target) for _ in range(count)]

    def close(self) -> None:
        for fake in self.fakes.values():
            fake.close()
