"""Stand-ins for the clouds' billing APIs, over HTTP: Azure's Cost Management query, and BigQuery.

They answer as the vendors' documentation says, page by page, and the vendors' own libraries read them.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PAGE = 40


class _Server:
    def __init__(self):
        simulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                simulator._answer(self, None)

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                if len(data) == length:
                    simulator._answer(self, json.loads(data or b"{}"))

            def log_message(self, *arguments):
                pass

        # Statuses to answer with instead, one each request.
        self.failures: list[int] = []
        self.requests: list[tuple[str, dict | None]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, handler, body):
        self.requests.append((handler.path, body))
        if self.failures:
            status, answer = self.failures.pop(0), {"error": {"code": "Broken", "message": "as was asked"}}
        else:
            status, answer = self.answer(urlsplit(handler.path), body)
        data = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def answer(self, url, body) -> tuple[int, dict]:
        raise NotImplementedError


class CostManagement(_Server):
    """POST /{scope}/providers/Microsoft.CostManagement/query over `charges`.

    A charge is {day: YYYY-MM-DD, currency, service, region, kind, actual, amortized}.
    """

    def __init__(self):
        super().__init__()
        self.charges: list[dict] = []

    def answer(self, url, body) -> tuple[int, dict]:
        if not re.fullmatch(r"/.+/providers/Microsoft\.CostManagement/query", url.path):
            return 404, {"error": {"code": "NotFound", "message": url.path}}
        since, until = (body["timePeriod"][name][:10] for name in ("from", "to"))
        amount = {"ActualCost": "actual", "AmortizedCost": "amortized"}[body["type"]]
        dataset = body["dataset"]
        field = {"ServiceName": "service", "ResourceLocation": "region", "ChargeType": "kind"}
        groups = [one["name"] for one in dataset.get("grouping", [])]
        daily = dataset["granularity"] == "Daily"
        sums: dict[tuple, float] = {}
        for one in self.charges:
            if since <= one["day"] <= until:
                key = (
                    *([int(one["day"].replace("-", ""))] if daily else []),
                    *(one[field[name]] for name in groups),
                    one["currency"],
                )
                sums[key] = round(sums.get(key, 0) + one[amount], 10)
        names = ["Cost", *(["UsageDate"] if daily else []), *groups, "Currency"]
        rows = [[cost, *key] for key, cost in sums.items()]
        at = int(parse_qs(url.query).get("$skiptoken", ["0"])[0])
        more = f"{self.url}{url.path}?api-version=x&$skiptoken={at + PAGE}" if at + PAGE < len(rows) else None
        properties = {"columns": [{"name": name} for name in names], "rows": rows[at : at + PAGE]}
        return 200, {"properties": properties | {"nextLink": more}}


class BigQuery(_Server):
    """jobs.query and jobs.getQueryResults; what a query gives is told by `results`.

    `results` is called with (SQL, {parameter: text}) and gives (columns, rows of texts).
    """

    def __init__(self, results):
        super().__init__()
        self.results = results
        self._jobs: dict[str, tuple] = {}

    def answer(self, url, body) -> tuple[int, dict]:
        if job := re.fullmatch(r"/bigquery/v2/projects/([^/]+)/jobs/([^/]+)", url.path):
            project, name = job.groups()
            return 200, {
                "kind": "bigquery#job",
                "id": f"{project}:EU.{name}",
                "jobReference": {"projectId": project, "jobId": name, "location": "EU"},
                "configuration": {"jobType": "QUERY", "query": {"query": ""}},
                "status": {"state": "DONE"},
                "statistics": {"query": {}},
            }
        found = re.fullmatch(r"/bigquery/v2/projects/([^/]+)/queries(?:/([^/]+))?", url.path)
        if not found:
            return 404, {"error": {"code": 404, "message": url.path}}
        project, job = found.groups()
        query = parse_qs(url.query)
        at, size = int(query.get("pageToken", ["0"])[0]), int(query.get("maxResults", [PAGE])[0])
        if job is None:
            job = f"job{len(self._jobs)}"
            parameters = {
                one["name"]: one["parameterValue"]["value"] for one in body.get("queryParameters", [])
            }
            self._jobs[job] = self.results(body["query"], parameters)
            size = int(body.get("maxResults", PAGE))
        names, rows = self._jobs[job]
        size = min(size, PAGE)
        answer = {
            "kind": "bigquery#queryResponse",
            "jobReference": {"projectId": project, "jobId": job, "location": "EU"},
            "jobComplete": True,
            "schema": {"fields": [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in names]},
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": value} for value in row]} for row in rows[at : at + size]],
        }
        if at + size < len(rows):
            answer["pageToken"] = str(at + size)
        return 200, answer
