"""A Hugging Face causal language model decoded by vLLM on the GPUs of this process.

Prompts are tokenised here, by the student's own chat format, so that vLLM is given the tokens that ``local.py`` would read.
Run with the CPU build of vLLM 0.32.0 (``tests/models/test_vllm.py``); not yet on a GPU.
"""

import time
from itertools import count
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.types import Completion, Messages, Sampling, Usage
from orcinus.models.continuation import goes_on, is_whole
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.remote.replies import split_thinking


class Vllm:
    """The Completer of a ``LocalConfig``, by vLLM's asynchronous engine."""

    def __init__(self, config: LocalConfig) -> None:
        """Read the weights.

        Raises:
            ConfigError: The configuration asks for what is not done here.
        """
        if config.adapter is not None:
            raise ConfigError(
                f"{config.adapter}: vLLM replicas take no adapter; merge it into the model first"
            )
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs, AsyncLLMEngine

        self._identity = local_identity(config, Path())
        self._numbers = count()
        tokenizer = AutoTokenizer.from_pretrained(config.path, revision=config.revision)
        self._chat = Chat(tokenizer, fallback=config.chat_template)
        self._engine: Any = AsyncLLMEngine.from_engine_args(
            AsyncEngineArgs(
                model=config.path,
                revision=config.revision,
                dtype=config.dtype,
                enable_prefix_caching=True,
            )
        )

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision."""
        return self._identity

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Answer, together with whatever else is being asked."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        started = time.perf_counter()
        prompt = self._chat.begun(messages)[0] if goes_on(sampling) else self._chat.prompt(messages)
        parameters = SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            include_stop_str_in_output=is_whole(sampling),
            logprobs=0 if sampling.logprobs else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        written: Any = None
        async for output in self._engine.generate(
            {"prompt_token_ids": prompt}, parameters, str(next(self._numbers))
        ):
            written = output.outputs[0]
        reasoning, text = split_thinking(written.text)
        logprobs = None
        if sampling.logprobs:
            logprobs = tuple(
                float(places[token].logprob)
                for token, places in zip(written.token_ids, written.logprobs, strict=True)
            )
        return Completion(
            text=text if is_whole(sampling) else text.strip(),
            finish="length" if written.finish_reason == "length" else "stop",
            usage=Usage(tokens_in=len(prompt), tokens_out=len(written.token_ids)),
            reasoning=reasoning,
            logprobs=logprobs,
            latency_s=time.perf_counter() - started,
        )

    async def aclose(self) -> None:
        """Stop the engine."""
        self._engine.shutdown()
