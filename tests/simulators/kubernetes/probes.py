"""The probes of containers that are processes: HTTP GETs, at their period, over the mapped port."""

import http.client
import threading
import time
import urllib.parse

# Before a container is ready its readiness is looked at this often at most, so that tests need not wait.
_EAGER_SECONDS = 0.1


class Prober:
    """A thread that probes one container until it is stopped."""

    def __init__(self, kubelet, pod: dict, run, container: dict):
        self._kubelet, self._pod, self._run, self._container = kubelet, pod, run, container
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"prober-{run.uid[:8]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def _loop(self) -> None:
        speed = self._kubelet.loop.speed
        probes = {
            kind: self._container[field]
            for kind, field in (("Readiness", "readinessProbe"), ("Liveness", "livenessProbe"))
            if field in self._container
        }
        if "Readiness" not in probes:
            self._kubelet.probed(self._pod, self._run, "Readiness", "")
        started = time.monotonic()
        due = {kind: started + self._delay(kind, probe, speed) for kind, probe in probes.items()}
        failures = dict.fromkeys(probes, 0)
        told: dict[str, bool | None] = dict.fromkeys(probes)
        while probes:
            kind = min(due, key=lambda name: due[name])
            if self._stopped.wait(max(0.0, due[kind] - time.monotonic())):
                return
            probe = probes[kind]
            failure = self._probe(probe)
            period = probe.get("periodSeconds", 10) / speed
            failures[kind] = failures[kind] + 1 if failure else 0
            most = probe.get("failureThreshold", 3)
            booting = not told[kind] and time.monotonic() - started < 60
            due[kind] = time.monotonic() + (min(period, _EAGER_SECONDS) if failure and booting else period)
            if not failure:
                if not told[kind]:
                    self._kubelet.probed(self._pod, self._run, kind, "")
                told[kind] = True
            elif kind == "Readiness" and told[kind] and failures[kind] >= most:
                self._kubelet.probed(self._pod, self._run, kind, failure)
                told[kind] = False
            elif kind == "Liveness" and told[kind] and failures[kind] >= most:
                self._kubelet.probed(self._pod, self._run, kind, failure, kill=True)
                return

    @staticmethod
    def _delay(kind: str, probe: dict, speed: float) -> float:
        if kind == "Readiness":
            return _EAGER_SECONDS
        return (probe.get("initialDelaySeconds") or probe.get("periodSeconds", 10)) / speed

    def _probe(self, probe: dict) -> str:
        """Why it failed, or ""."""
        get = probe.get("httpGet")
        timeout = max(1, probe.get("timeoutSeconds", 1))
        connection = http.client.HTTPConnection("127.0.0.1", self._run.port, timeout=timeout)
        try:
            if get is None:
                connection.connect()
                return ""
            headers = {header["name"]: header["value"] for header in get.get("httpHeaders", ())}
            connection.request(
                "GET", get.get("path", "/"), headers={"User-Agent": "kube-probe/1.34", **headers}
            )
            status = connection.getresponse().status
            return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"
        except TimeoutError:
            return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._run.ip}:{get.get('port') if get else ''}"
            path = urllib.parse.quote((get or {}).get("path", "/"))
            return f'Get "http://{where}{path}": dial tcp {where}: connect: {_reason(error)}'
        finally:
            connection.close()


def _reason(error: Exception) -> str:
    return "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
