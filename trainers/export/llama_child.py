"""The process in which llama.cpp serves one GGUF file; started by trainers/export/llama_server.py.

It reads one line of JSON ({"model", "api_key", "context_tokens", "num_threads"}) from stdin, writes
the address to stdout, and exits when stdin closes, so it never outlives its parent.
"""

import json
import os
import sys

F32 = 0  # ggml_type
NO_FLASH = 0  # llama_flash_attn_type


def main() -> None:
    """Serve until stdin closes."""
    import xllamacpp

    # llama.cpp logs to stdout too, so the pipe for the address is kept separate.
    address = os.dup(1)
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.api_keys = [settings["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = settings["context_tokens"]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings["num_threads"]
        cpu.poll = 0
    # One slot, nothing kept between requests: a reply depends on its prompt alone.
    params.n_parallel = 1
    params.cont_batching = False
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.ctx_shift = False
    params.warmup = False
    params.n_gpu_layers = 0
    # What is compared is the file, so the attention cache adds no rounding of its own.
    params.cache_type_k = F32
    params.cache_type_v = F32
    params.flash_attn_type = NO_FLASH
    params.use_jinja = True
    server = xllamacpp.Server(params)
    os.write(address, (server.listening_address + "\n").encode())
    os.close(address)
    sys.stdin.read()
    # llama.cpp's own tear-down has nothing to save; leaving at once cannot hang.
    os._exit(0)


if __name__ == "__main__":
    main()
