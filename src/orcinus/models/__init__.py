"""Models we can ask: remote endpoints, Hugging Face models in this process, functions, recorded outputs."""
