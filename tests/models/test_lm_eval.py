"""lm-evaluation-harness measures what orcinus serves, as docs/connect.md says."""

import asyncio
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from orcinus.core.types import Request
from orcinus.models.function import FunctionConfig
from orcinus.models.server.chat_api import chat_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("lm_eval") is None or find_spec("tenacity") is None, reason="needs lm-eval[api]"
    ),
]
TASK = {
    "task": "my_sums",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def add(request: Request) -> str:
    """Answer right if the question and the stop text have arrived as they were sent."""
    first, second = request.messages[-1].content.split("+")
    return str(int(first) + int(second)) if request.sampling.stop == ("\n",) else "no stop text"


def test_lm_eval_measures_what_the_server_answers(tmp_path: Path) -> None:
    rows = [{"question": f"{n} + 5", "answer": str(n + 5)} for n in range(3)]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "my_sums.yaml").write_text(yaml.safe_dump(TASK), encoding="utf-8")

    async def measure() -> Any:
        model = FunctionConfig(function=f"{__name__}:add").open()
        async with chat_server(model, name="sums") as url:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"),
                *("--apply_chat_template", "--include_path", ".", "--tasks", "my_sums"),
                "--model_args",
                f"model=sums,base_url={url}/chat/completions,tokenized_requests=False",
                *("--output_path", "out"),
                cwd=tmp_path,
                env={**os.environ, "OPENAI_API_KEY": "none", "HF_HOME": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said.decode()

    asyncio.run(measure())
    (results,) = tmp_path.glob("out/**/results*.json")
    score = json.loads(results.read_text(encoding="utf-8"))["results"]["my_sums"]
    assert score["exact_match,none"] == 1.0
