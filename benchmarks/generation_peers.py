"""Run one tool of ``benchmarks.generation``, in an environment that has it.

    PYTHON benchmarks/generation_peers.py TOOL QUESTIONS.jsonl FOLDER BASE_URL IN_FLIGHT

Each function has a model answer all questions and writes the rows whose answer is right to
``kept.jsonl`` in the folder. The options are those under which the tool was quickest here.
"""

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODEL = "loopback"
NUMBER = re.compile(r"-?\d+")


def is_right(text: str, reference: str) -> bool:
    """Return whether the last number of a text is the reference: the cheapest possible rule."""
    return NUMBER.findall(text or "")[-1:] == [reference]


def with_curator(rows: list[dict[str, str]], folder: Path, url: str, in_flight: int) -> None:
    """Generate with Curator, and filter with the data set that it returns."""
    os.environ |= {
        "TELEMETRY_ENABLED": "0",
        "CURATOR_VIEWER": "0",
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "CURATOR_CACHE_DIR": str(folder / "cache"),
    }
    # It asks tiktoken for a file that litellm has as well.
    spec = find_spec("litellm")
    if spec is not None and spec.submodule_search_locations:
        where = Path(spec.submodule_search_locations[0])
        os.environ["TIKTOKEN_CACHE_DIR"] = str(where / "litellm_core_utils" / "tokenizers")
    from bespokelabs import curator
    from datasets import Dataset

    class Solver(curator.LLM):  # type: ignore[misc]
        def prompt(self, row: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"role": "system", "content": row["system"]},
                {"role": "user", "content": row["prompt"]},
            ]

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            return {**row, "text": response}

    solver = Solver(
        model_name=MODEL,
        backend="openai",
        backend_params={
            "base_url": url,
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
        generation_params={"temperature": 0.0, "max_tokens": 512},
    )
    made = solver(Dataset.from_list(rows))
    made = getattr(made, "dataset", made)
    kept = made.filter(lambda row: is_right(row["text"], row["reference"]))
    kept.to_json(str(folder / "kept.jsonl"))


def with_distilabel(rows: list[dict[str, str]], folder: Path, url: str, in_flight: int) -> None:
    """Generate with a pipeline of distilabel, and filter with the data set that it returns."""
    os.environ["DISTILABEL_LOG_LEVEL"] = "WARNING"  # or it prints a line for each call
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    data = [
        {
            "instruction": row["prompt"],
            "system_prompt": row["system"],
            "reference": row["reference"],
        }
        for row in rows
    ]
    with Pipeline(name="bench", cache_dir=folder / "cache") as pipeline:
        load = LoadDataFromDicts(data=data, batch_size=in_flight)
        model = OpenAILLM(
            model=MODEL,
            base_url=url,
            api_key="none",
            generation_kwargs={"temperature": 0.0, "max_new_tokens": 512},
        )
        # Its calls in flight are those of one batch.
        load >> TextGeneration(llm=model, input_batch_size=in_flight)
    made = pipeline.run()["default"]["train"]
    kept = made.filter(lambda row: is_right(row["generation"], row["reference"]))
    kept.to_json(str(folder / "kept.jsonl"))


def with_data_designer(rows: list[dict[str, str]], folder: Path, url: str, in_flight: int) -> None:
    """Generate a column with Data Designer, and filter its data frame."""
    os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_HOME": str(folder / "home")}
    import data_designer.config as dd
    import pandas as pd
    from data_designer.config.run_config import RunConfig
    from data_designer.interface import DataDesigner

    seed = folder / "seed.parquet"
    pd.DataFrame(rows).to_parquet(seed)
    provider = dd.ModelProvider(name="local", endpoint=url, provider_type="openai", api_key="none")
    designer = DataDesigner(artifact_path=str(folder / "artifacts"), model_providers=[provider])
    designer.set_run_config(RunConfig(buffer_size=1000))
    sampling = dd.ChatCompletionInferenceParams(
        max_parallel_requests=in_flight, temperature=0.0, max_tokens=512, timeout=120
    )
    model = dd.ModelConfig(
        alias="solver", model=MODEL, provider="local", inference_parameters=sampling
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seed)))
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="text",
            model_alias="solver",
            prompt="{{ prompt }}",
            system_prompt=rows[0]["system"],
        )
    )
    frame = designer.create(builder, num_records=len(rows), dataset_name="bench").load_dataset()
    right = [is_right(t, r) for t, r in zip(frame["text"], frame["reference"], strict=True)]
    frame[right].to_json(folder / "kept.jsonl", orient="records", lines=True)


TOOLS: dict[str, Any] = {
    "curator": with_curator,
    "distilabel": with_distilabel,
    "data-designer": with_data_designer,
}


def main() -> None:
    tool, questions, folder, url, in_flight = sys.argv[1:]
    lines = Path(questions).read_text(encoding="utf-8").splitlines()
    TOOLS[tool]([json.loads(line) for line in lines], Path(folder), url, int(in_flight))


if __name__ == "__main__":
    main()
