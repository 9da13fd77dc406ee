"""llama.cpp on one GGUF file, over HTTP on the loopback, for as long as a `with` block.

with LlamaServer(Path("demo-f16.gguf"), context_tokens=2048) as llama:
    llama.tokenize("¿Cuántas rutas hay?", add_special=False)      # [4, 465, ...]
    llama.complete(prompt_ids, max_new_tokens=64).ids             # greedy, always the same
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from datasets_src.errors import UserError
from datasets_src.types import Message

CHILD = Path(__file__).with_name("llama_child.py")
GREEDY: dict[str, Any] = {
    "temperature": 0,
    "samplers": ["top_k"],
    "top_k": 1,
    "return_tokens": True,
    "cache_prompt": False,
}
FORCED = 1e6  # bias of a logit that no other reaches


@dataclass(frozen=True)
class Completion:
    """A greedy reply: `ids` up to and with the end-of-turn token, `text` before a stop.

    `logprobs` are natural logs, one for each id; empty where llama.cpp gave none (inside a
    character of several byte tokens). `ended` is "eos", "word" (a stop string) or "limit".
    """

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    ended: str


class LlamaServer:
    """A child process with llama.cpp's server; killed by its process id at the end.

    Within the block it also speaks OpenAI's protocol at `address`/v1, with `api_key`.
    """

    def __init__(self, gguf: Path, *, context_tokens: int, num_threads: int = 2) -> None:
        if find_spec("xllamacpp") is None:
            raise UserError(
                "export.gguf_types: llama.cpp's runtime is not installed; pip install xllamacpp, "
                "or set gguf_types=[]"
            )
        self._gguf = gguf
        self.api_key = secrets.token_hex(16)
        self._settings = {
            "model": str(gguf),
            "api_key": self.api_key,
            "context_tokens": context_tokens,
            "num_threads": num_threads,
        }

    def __enter__(self) -> "LlamaServer":
        self._log: IO[bytes] = tempfile.TemporaryFile()
        # Its threads wait asleep: spinning took 30 s instead of 0.3 s where cores were shared.
        # -P: the folder of the child's file must not come first in sys.path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self.address = ""
        try:
            with contextlib.suppress(BrokenPipeError):  # the child is dead: its log says why
                self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
                self._process.stdin.flush()
                self.address = self._process.stdout.readline().decode().strip()
            if not self.address:
                tail = self._log_tail()
                raise UserError(f"export: llama.cpp does not load {self._gguf}: {tail}")
        finally:  # also where ctrl-C came while it loaded
            if not self.address:
                self.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child and wait for it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was still buffered for the dead child
        self._log.close()

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        """Token ids of `text`; `add_special` lets the file decide whether BOS comes first."""
        body = {"content": text, "add_special": add_special, "parse_special": parse_special}
        ids: list[int] = self._post("/tokenize", body)["tokens"]
        return ids

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt that the file's own chat template makes of `messages`."""
        text: str = self._post("/apply-template", {"messages": list(messages)})["prompt"]
        return text

    def complete(
        self, prompt: Sequence[int], *, max_new_tokens: int, stop: Sequence[str] = ()
    ) -> Completion:
        """The greedy continuation of `prompt` (token ids, taken as they are: no BOS added)."""
        body = {
            "prompt": list(prompt),
            "n_predict": max_new_tokens,
            "stop": list(stop),
            "n_probs": 1,
        }
        reply = self._post("/completion", GREEDY | body)
        ids = tuple(reply["tokens"])
        rows = reply.get("completion_probabilities", [])
        whole = tuple(row["id"] for row in rows) == ids
        return Completion(
            ids=ids,
            text=reply["content"],
            logprobs=tuple(row["logprob"] for row in rows) if whole else (),
            ended=reply["stop_type"],
        )

    def ends_at(self, prompt: Sequence[int], token: int) -> bool:
        """Whether a reply to `prompt` ends when the model chooses `token`."""
        body = {"prompt": list(prompt), "n_predict": 2, "logit_bias": [[token, FORCED]]}
        reply = self._post("/completion", GREEDY | body)
        return bool(reply["stop_type"] == "eos" and len(reply["tokens"]) <= 1)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"},
        )
        # An opener without proxies: the loopback must not be sent through http_proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise RuntimeError(f"llama.cpp: {path} answered {error.code}: {text}") from error
        except (urllib.error.URLError, ConnectionError) as error:
            raise UserError(
                f"export: llama.cpp died on {self._gguf}: {self._log_tail()}"
            ) from error

    def _log_tail(self) -> str:
        self._process.poll()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:]) or "no output"
