"""llama.cpp's server as a measured program: stopped unless it is asked something."""

import contextlib
import json
import tempfile
import time
import urllib.request
from pathlib import Path

from programs import START_SECONDS, TURN_SECONDS, Failure, Process


class LlamaServer(Process):
    """`name` is what a table calls it. Answers one request at a time, with `context` tokens of cache."""

    def __init__(self, name: str, program: str, model: Path, threads: int, port: int, flags: list[str], context: int = 4096):
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        if self._healthy():
            raise Failure(f"port {port} is another server's: name another one by --port")
        self.log = tempfile.TemporaryFile("w+")
        command = [program, "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
        command += ["-c", str(context), "-np", "1", "-t", str(threads), *flags]
        super().__init__(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy():
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise Failure(f"{name} does not start:\n{self.log.read()[-2000:]}")
            time.sleep(0.2)
        self.pause()

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
            return True
        return False

    def ask(self, path: str, body: dict) -> dict:
        """Its answer to a request, for which it may work."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        self.resume()
        with urllib.request.urlopen(request, timeout=TURN_SECONDS) as response:
            answer = json.load(response)
        self.pause()
        return answer
