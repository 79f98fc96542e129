# The official client of Python on what runs without it: webhooks to a receiver of this program's own, responses in the background, files
# and batches.

import io
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import openai
from openai import InvalidWebhookSignatureError, OpenAI

client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)
model = os.environ["MODEL"]
received = Queue()
PATIENCE_S = 300


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        received.put((self.rfile.read(int(self.headers["content-length"])), dict(self.headers.items())))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()


def until(read):
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        value = read()
        if value is not None:
            return value
        time.sleep(0.05)
    raise AssertionError("it never came")


def opened(secret, *types):
    body, headers = received.get(timeout=PATIENCE_S)
    event = client.webhooks.unwrap(body, headers, secret=secret)
    assert event.type in types, event
    return event


# Webhooks: made, tested, opened, given another secret.
wanted = ["response.completed", "response.incomplete", "response.cancelled", "batch.completed"]
url = f"http://127.0.0.1:{server.server_port}/hook"
endpoint = client.webhooks.create(name="mine", url=url, event_types=wanted)
assert client.webhooks.retrieve(endpoint.id).url == url
assert endpoint.id in [each.id for each in client.webhooks.list()]
assert client.webhooks.test(endpoint.id, event_type="response.completed").success
opened(endpoint.signing_secret, "response.completed")
rotated = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
client.webhooks.test(endpoint.id, event_type="response.completed")
body, headers = received.get(timeout=PATIENCE_S)
for secret in (endpoint.signing_secret, rotated.signing_secret):
    client.webhooks.unwrap(body, headers, secret=secret)
alone = client.webhooks.rotate_secret(endpoint.id)
client.webhooks.test(endpoint.id, event_type="response.completed")
body, headers = received.get(timeout=PATIENCE_S)
client.webhooks.unwrap(body, headers, secret=alone.signing_secret)
try:
    client.webhooks.unwrap(body, headers, secret=rotated.signing_secret)
    raise AssertionError("a secret that was replaced opens still")
except InvalidWebhookSignatureError:
    pass
secret = alone.signing_secret

# Responses: whole, streamed, in the background, read on from an event, cancelled.
asked = {"model": model, "input": "写一段快速排序", "temperature": 0, "max_output_tokens": 40}
whole = client.responses.create(**asked)
assert whole.output_text and client.responses.retrieve(whole.id).output_text == whole.output_text
form = {"format": {"type": "regex", "pattern": "[a-z ]{8,20}[.]"}}  # the helper wants a response that is completed
with client.responses.stream(**{**asked, "text": form}) as stream:
    deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert stream.get_final_response().output_text == deltas and deltas.endswith(".")
queued = client.responses.create(**asked, background=True)
until(lambda: None if client.responses.retrieve(queued.id).status in ("queued", "in_progress") else True)
assert client.responses.retrieve(queued.id).output_text == whole.output_text
assert opened(secret, "response.completed", "response.incomplete").data.id == queued.id
begun = client.responses.create(**asked, background=True, stream=True)
seen = [next(begun) for _ in range(2)]
begun.close()
rest = list(client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number))
numbers = [event.sequence_number for event in [*seen, *rest]]
assert numbers == list(range(len(numbers))) and rest[-1].response.output_text == whole.output_text
assert opened(secret, "response.completed", "response.incomplete").data.id == seen[0].response.id
long = client.responses.create(**{**asked, "max_output_tokens": 900}, background=True, extra_body={"ignore_eos": True})
assert client.responses.cancel(long.id).status == "cancelled"
assert opened(secret, "response.cancelled").data.id == long.id

# Files and batches.
lines = [
    {"custom_id": f"line {n}", "method": "POST", "url": "/v1/responses", "body": {**asked, "max_output_tokens": 2 + n}}
    for n in range(3)
]
text = "\n".join(json.dumps(line) for line in lines).encode()
file = client.files.create(file=("lines.jsonl", io.BytesIO(text)), purpose="batch")
assert client.files.wait_for_processing(file.id).bytes == len(text) and client.files.content(file.id).read() == text
batch = client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
done = until(lambda: (each := client.batches.retrieve(batch.id)).status == "completed" and each or None)
assert (done.request_counts.completed, done.request_counts.failed) == (3, 0)
answers = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
used = {answer["custom_id"]: answer["response"]["body"]["usage"]["output_tokens"] for answer in answers}
assert used == {f"line {n}": 2 + n for n in range(3)}, used
assert opened(secret, "batch.completed").data.id == batch.id
assert client.files.delete(file.id).deleted
client.webhooks.delete(endpoint.id)

print("openai", openai.__version__, "on webhooks, responses, files and batches")
