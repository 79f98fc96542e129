# The official client of Python: texts, streams, answers of a form, tools, refusals.

import json
import os

import openai
from openai import NotFoundError, OpenAI
from pydantic import BaseModel
from typing import Literal

client = OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0)
model = os.environ["MODEL"]
messages = [{"role": "user", "content": "写一段快速排序"}]
greedy = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 40}


class Note(BaseModel):
    unit: Literal["C", "F"]
    days: list[Literal["mon", "tue"]]
    is_warm: bool


whole = client.chat.completions.create(**greedy)
text = whole.choices[0].message.content
assert text and whole.usage.completion_tokens > 0

chunks = client.chat.completions.create(**greedy, stream=True, stream_options={"include_usage": True})
streamed, usage = "", None
for chunk in chunks:
    streamed += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    usage = chunk.usage or usage
assert streamed == text and usage == whole.usage

stop = text[10:13]
with client.chat.completions.stream(**greedy, stop=stop) as stream:
    final = stream.get_final_completion()
assert final.choices[0].message.content == text[: text.index(stop)]

again = client.chat.completions.create(**{**greedy, "messages": [*messages, whole.choices[0].message, *messages]})
assert again.usage.prompt_tokens > whole.usage.prompt_tokens

parsed = client.chat.completions.parse(**{**greedy, "max_tokens": 200, "temperature": 1, "seed": 3}, response_format=Note)
assert isinstance(parsed.choices[0].message.parsed, Note)

tool = openai.pydantic_function_tool(Note, name="keep")
called = client.chat.completions.parse(**{**greedy, "max_tokens": 300}, tools=[tool], tool_choice="required")
for call in called.choices[0].message.tool_calls:
    assert isinstance(call.function.parsed_arguments, Note)
results = [
    {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"ok": True})}
    for call in called.choices[0].message.tool_calls
]
after = client.chat.completions.create(
    **{**greedy, "messages": [*messages, called.choices[0].message, *results]}, tools=[tool], tool_choice="none"
)
assert after.choices[0].finish_reason in ("stop", "length")

hints = client.chat.completions.with_raw_response.create(
    **greedy, metadata={"team": "a"}, safety_identifier="u", prompt_cache_key="k", store=False
)
assert hints.parse().choices[0].message.content == text

completion = client.completions.create(model=model, prompt=["def f(", "x ="], max_tokens=4, echo=True)
assert completion.choices[0].text.startswith("def f(")
assert model in [each.id for each in client.models.list()]

try:
    client.chat.completions.create(**{**greedy, "model": "gpt"})
    raise AssertionError("a model that is not was answered")
except NotFoundError as refused:
    assert refused.code == "model_not_found" and refused.request_id

print("openai", openai.__version__)
