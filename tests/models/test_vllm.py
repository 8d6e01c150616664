"""vLLM in this process and behind its server: the tokens that ``local.py`` writes. Runs where vLLM is installed, with a GPU or as its CPU build."""

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from orcinus.core.protocols import Completer
from orcinus.core.types import Completion, Message, Messages, Sampling
from orcinus.models.continuation import GO_ON
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import Local
from orcinus.models.local.server_process import VLLM, Served
from orcinus.pipeline import demo
from orcinus.strategies.library import built_in
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

pytestmark = [
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.filterwarnings("default"),  # its own
]

BASE = Path(demo.__file__).parent / "base"
CONFIG = LocalConfig(path=str(BASE), dtype="float32")
SYSTEM = Message(role="system", content=built_in()["step_by_step"].system)
QUESTIONS: list[Messages] = [
    (SYSTEM, Message(role="user", content=example.prompt))
    for example in draw(ProceduralConfig(generator="sums", count=100, size=(2, 4)))
]
BEGUN = [
    (*question, Message(role="assistant", content="The answer")) for question in QUESTIONS[:20]
]
GREEDY = Sampling(max_tokens=100, temperature=0.0, logprobs=True)
FURTHER = Sampling(max_tokens=100, temperature=0.0, stop=(".",), extra=GO_ON)


async def answers(
    model: Completer, questions: Sequence[Messages], sampling: Sampling
) -> list[Completion]:
    return await asyncio.gather(*(model.complete(question, sampling) for question in questions))


async def all_answers(model: Completer) -> list[Completion]:
    try:
        return await answers(model, QUESTIONS, GREEDY) + await answers(model, BEGUN, FURTHER)
    finally:
        await model.aclose()


@pytest.fixture(scope="module")
def here() -> list[Completion]:
    return asyncio.run(all_answers(Local(CONFIG, device="cpu")))


@pytest.fixture(params=["engine", "server"])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Completion]:
    monkeypatch.setenv(
        "VLLM_CPU_KVCACHE_SPACE", "1"
    )  # GiB: its CPU build takes half the machine's memory if not told
    if request.param == "server":
        return asyncio.run(all_answers(Served(CONFIG, f"{VLLM} --dtype float32")))
    from orcinus.models.local.vllm import Vllm

    async def opened() -> list[Completion]:
        return await all_answers(Vllm(CONFIG))

    return asyncio.run(opened())


def test_it_writes_what_a_model_in_this_process_writes(
    here: list[Completion], there: list[Completion]
) -> None:
    assert len({answer.text for answer in here}) > 50
    assert [(a.text, a.finish, a.usage) for a in there] == [
        (a.text, a.finish, a.usage) for a in here
    ]
    probabilities = [
        [value for a in found for value in a.logprobs or ()] for found in (there, here)
    ]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-4)
