"""The official OpenAI client in Python: a streamed chat, then what it cost.

    pip install openai
    OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=zc_live_… python chat.py
"""

import time

from openai import OpenAI

client = OpenAI()  # it reads OPENAI_BASE_URL and OPENAI_API_KEY


def settled(request_id: str) -> dict:
    """The receipt, once the node has reported what it counted: a moment after the last byte."""
    for _ in range(100):
        receipt = client.get(f"/usage/{request_id}", cast_to=object)
        if receipt["state"] != "pending":
            return receipt
        time.sleep(0.1)
    raise TimeoutError(f"request {request_id} is still not settled")


stream = client.chat.completions.create(
    model="ziya-coding-mini",
    messages=[{"role": "user", "content": "写一段快速排序"}],
    temperature=0,
    max_tokens=300,
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)

receipt = settled(stream.response.headers["x-request-id"])
print(f"\n\n{receipt['prompt_tokens']} tokens in, {receipt['completion_tokens']} tokens out: {receipt['cost_nanousd']} nano-dollars")
