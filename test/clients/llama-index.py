# LlamaIndex of Python: texts and streams, by its class for servers that are like OpenAI's.

import os

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(
    api_base=os.environ["BASE_URL"],
    api_key=os.environ["API_KEY"],
    model=os.environ["MODEL"],
    temperature=0,
    max_tokens=40,
    is_chat_model=True,
    max_retries=0,
)
asked = [ChatMessage(role="system", content="You are terse."), ChatMessage(role="user", content="写一段快速排序")]
whole = llm.chat(asked).message.content
assert whole
assert "".join(piece.delta or "" for piece in llm.stream_chat(asked)) == whole
print("llama_index")
