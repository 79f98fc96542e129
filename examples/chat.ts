// The official OpenAI client in TypeScript: a streamed chat, then what it cost.
//   npm install openai
//   OPENAI_BASE_URL=http://127.0.0.1:8787/v1 OPENAI_API_KEY=zc_live_… node chat.ts

import { setTimeout as sleep } from 'node:timers/promises'
import OpenAI from 'openai'

interface Receipt {
  state: 'pending' | 'posted' | 'voided' | 'expired'
  prompt_tokens: number
  completion_tokens: number
  cost_nanousd: string
}

const client = new OpenAI() // it reads OPENAI_BASE_URL and OPENAI_API_KEY

const { data: stream, request_id } = await client.chat.completions
  .create({
    model: 'ziya-coding-mini',
    messages: [{ role: 'user', content: '写一段快速排序' }],
    temperature: 0,
    max_tokens: 300,
    stream: true,
  })
  .withResponse()
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '')

const { prompt_tokens, completion_tokens, cost_nanousd } = await settled(request_id!)
console.log(`\n\n${prompt_tokens} tokens in, ${completion_tokens} tokens out: ${cost_nanousd} nano-dollars`)

/** The receipt, once the node has reported what it counted: a moment after the last byte. */
async function settled(id: string): Promise<Receipt> {
  for (let tries = 0; tries < 100; tries++) {
    const receipt = await client.get<Receipt>(`/usage/${id}`)
    if (receipt.state !== 'pending') return receipt
    await sleep(100)
  }
  throw new Error(`request ${id} is still not settled`)
}
