"""A small Hugging Face Hub on this machine, with a few data sets in it."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import datasets
import numpy as np
from PIL import Image

REVISION = "0" * 39 + "1"
CARD = """---
configs:
- config_name: mnist
  default: true
  data_files:
  - {split: train, path: mnist/train-*}
  - {split: test, path: mnist/test-*}
---
"""


def parquet_bytes(n, seed):
    """A parquet file of n images with labels, in the layout of the Hub."""
    rng = np.random.default_rng(seed)
    images = [Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)) for _ in range(n)]
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list("0123456789"))
    )
    rows = {"image": images, "label": [k % 10 for k in range(n)]}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


def mnist():
    """A small MNIST, laid out as the real one."""
    return {
        "README.md": CARD.encode(),
        "mnist/train-00000-of-00001.parquet": parquet_bytes(40, seed=40),
        "mnist/test-00000-of-00001.parquet": parquet_bytes(20, seed=20),
    }


class Hub:
    """Serves repositories: name → path → bytes; `cut_off` ends parquet files half-way."""

    def __init__(self, repositories=None):
        self.repositories, self.cut_off = repositories or {"ylecun/mnist": mnist()}, False

        class Handler(BaseHTTPRequestHandler):
            hub = self

            def log_message(self, *arguments):
                pass

            def do_HEAD(self):
                self.hub.answer(self, body=False)

            def do_GET(self):
                self.hub.answer(self, body=True)

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.hub.answer(self, body=True)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler, body):
        address = urlsplit(handler.path)
        path = unquote(address.path)
        if path == "/":
            return self.send(handler, b"ok", body, {"Content-Type": "text/plain"})
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if file and file[2] in self.repositories.get(file[1], {}):
            content = self.repositories[file[1]][file[2]]
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            half = body and self.cut_off and file[2].endswith(".parquet")
            return self.send(handler, content, body, {"ETag": tag, "X-Repo-Commit": REVISION}, half)
        listing = self.listing(path, recursive="recursive=true" in address.query.lower())
        if listing is None:
            handler.send_response(404)
            handler.send_header("X-Error-Code", "EntryNotFound")
            handler.send_header("X-Repo-Commit", REVISION)
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        content = json.dumps(listing).encode()
        self.send(handler, content, body, {"Content-Type": "application/json"})

    def send(self, handler, content, body, headers, half=False):
        handler.send_response(200)
        for name, value in {"Content-Length": len(content), **headers}.items():
            handler.send_header(name, str(value))
        handler.end_headers()
        if body:
            handler.wfile.write(content[: len(content) // 2] if half else content)
        handler.close_connection = half

    def listing(self, path, recursive):
        pattern = r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/[^/]+/?(.*))?"
        asked = re.fullmatch(pattern, path)
        if asked is None or asked[1] not in self.repositories:
            return None
        files = self.repositories[asked[1]]
        if asked[2] != "tree":
            siblings = [{"rfilename": name} for name in files]
            return {"id": asked[1], "sha": REVISION, "siblings": siblings, "tags": []}
        folder = asked[3]
        below = [name for name in files if name.startswith(f"{folder}/" if folder else "")]
        depth = len(folder.split("/")) if folder else 0
        folders = {"/".join(name.split("/")[: depth + 1]) for name in below} - set(below)
        entries = [{"type": "directory", "path": f, "oid": "0" * 40} for f in sorted(folders)]
        deep = below if recursive else [name for name in below if name.count("/") == depth]
        return (entries + [self.entry(name, files[name]) for name in deep]) or None

    def entry(self, name, content):
        oid = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": name, "size": len(content), "oid": oid}


def of_the_hub(name):
    """Whether an environment variable says how, as whom or through what the Hub is asked."""
    return name.startswith("HF_") or name.upper().endswith("_PROXY")


def in_a_process(code, address, home):
    """Run code against a Hub and a cache; its last line, decoded."""
    own = {name: value for name, value in os.environ.items() if not of_the_hub(name)}
    environment = {
        **own,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "localhost,127.0.0.1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])
