# LangChain of Python: texts, streams, answers of a form, tools.

import os
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

chat = ChatOpenAI(
    base_url=os.environ["BASE_URL"],
    api_key=os.environ["API_KEY"],
    model=os.environ["MODEL"],
    temperature=0,
    max_tokens=120,
    max_retries=0,
)
asked = [SystemMessage("You are terse."), HumanMessage("写一段快速排序", name="ann")]


class Note(BaseModel):
    unit: Literal["C", "F"]
    is_warm: bool


@tool
def weather(unit: Literal["C", "F"]) -> str:
    """Tells the weather."""
    return "rain"


whole = chat.invoke(asked)
assert whole.content and whole.usage_metadata["output_tokens"] > 0
assert "".join(chunk.content for chunk in chat.stream(asked)) == whole.content
for method in ("json_schema", "function_calling"):
    assert isinstance(chat.with_structured_output(Note, method=method).invoke(asked), Note)
called = chat.bind_tools([weather], tool_choice="any", parallel_tool_calls=False).invoke(asked)
results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
assert results
assert chat.bind_tools([weather]).invoke([*asked, called, *results]).usage_metadata["output_tokens"] > 0
print("langchain_openai")
