"""What the client's README shows runs, from its first line to its last."""

import re

from tests.vectors.conftest import ROOT, token

README = ROOT / "clients" / "python" / "README.md"


def test_the_readme_runs(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 4
    code = "\n".join(blocks).replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.port}")
    names: dict = {}
    try:
        exec(compile(code.replace("avk_...", token()), str(README), "exec"), names)
    finally:
        if "client" in names:
            names["client"].close()
    assert names["done"].upserted == 1000 and names["done"].errors == []
