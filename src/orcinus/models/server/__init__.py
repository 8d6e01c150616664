"""A model served over HTTP as OpenAI's chat API."""
