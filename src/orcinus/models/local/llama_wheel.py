"""Run llama.cpp's server from the package ``xllamacpp``, where there is no ``llama-server``.

    python -m orcinus.models.local.llama_wheel model.gguf 8080 16 32768 2

The arguments are the file, the port, and the server's slots, tokens of context and threads.
"""

import signal
import sys


def main(gguf: str, *numbers: str) -> None:
    """Serve until the process is killed."""
    import xllamacpp

    port, slots, context, threads = map(int, numbers)
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.kv_unified, params.n_ctx = slots, True, context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.sampling.top_k, params.sampling.min_p = 0, 0.0
    _server = xllamacpp.Server(params)  # it serves in a thread for as long as it is referred to
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
