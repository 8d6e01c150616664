"""Find the strategy that suits a model which you already serve with the OpenAI chat API.

It prints:

    direct: 0% right (0% to 11%)
    step_by_step: 100% right (89% to 100%)
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orcinus


class Stub(BaseHTTPRequestHandler):
    """Stands in for your server: it adds correctly only when it is asked to think first."""

    def do_POST(self) -> None:
        """Answer ``POST /v1/chat/completions``."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        *system, question = body["messages"]
        total = sum(int(word) for word in question["content"].split() if word.isdigit())
        said = f"The answer is {total if 'step' in str(system) else total + 1}."
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        reply = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(reply).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"  # yours, e.g. http://localhost:8000/v1
    questions = [(n, n + 3) for n in range(30)]
    examples = [
        orcinus.Example(
            id=str(i),
            task="sums",
            prompt=f"What is {a} + {b} ?",
            answer_type="number",
            reference=str(a + b),
        )
        for i, (a, b) in enumerate(questions)
    ]
    model = {"kind": "endpoint", "model": "my-model", "base_urls": [url]}
    scores = orcinus.probe(model, examples, ["direct", "step_by_step"], concurrency=4)
    for strategy, score in scores["sums"].items():
        print(f"{strategy}: {score.mean:.0%} right ({score.low:.0%} to {score.high:.0%})")
