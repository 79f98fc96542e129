// The demo question of `npm start`, asked as any client would: over the public API, streamed, then looked up on the bill.

import { setTimeout as sleep } from 'node:timers/promises'
import type { ChatCompletionChunk, Usage } from '../contract/public/openai.ts'
import { usd } from '../contract/usd.ts'

export interface Ready {
  gateway_url: string
  api_key: string
  model: string
}

/** The question of the model's own card: "write a quick sort". */
const question = '写一段快速排序'

/** Streams the answer to the terminal, then prints what it cost and how to ask again. */
export async function ask(ready: Ready, signal: AbortSignal): Promise<void> {
  const body = {
    model: ready.model,
    messages: [{ role: 'user', content: question }],
    temperature: 0,
    max_tokens: 300,
    stream: true,
    stream_options: { include_usage: true },
  }
  console.log(`\n> ${question}\n`)
  const started = performance.now()
  const response = await answered(ready, JSON.stringify(body), signal)
  const usage = await printStream(response)
  const seconds = (performance.now() - started) / 1000
  console.log(`\n\n${usage.completion_tokens} tokens in ${seconds.toFixed(2)} s`)
  await printBill(ready, response.headers.get('x-request-id')!)
  console.log(`\ncurl ${ready.gateway_url}/v1/chat/completions -N \\
  -H 'Authorization: Bearer ${ready.api_key}' -H 'Content-Type: application/json' \\
  -d '${JSON.stringify(body)}'`)
}

const BUSY_MS_MAX = 30_000

/** A service that has just begun may say 503 for a moment: then it is asked again, as any client would. */
async function answered(ready: Ready, body: string, signal: AbortSignal): Promise<Response> {
  const headers = { authorization: `Bearer ${ready.api_key}`, 'content-type': 'application/json' }
  for (const deadline = performance.now() + BUSY_MS_MAX; ; await sleep(250, null, { signal })) {
    const response = await fetch(`${ready.gateway_url}/v1/chat/completions`, { method: 'POST', headers, body, signal })
    if (response.ok) return response
    const text = await response.text()
    if (response.status !== 503 || performance.now() > deadline)
      throw new Error(`the gateway answered ${response.status}: ${text}`)
    console.log(`  the gateway answered 503, asking again: ${text}`)
  }
}

async function printStream(response: Response): Promise<Usage> {
  let usage: Usage | null = null
  for await (const chunk of events(response)) {
    process.stdout.write(chunk.choices[0]?.delta.content ?? '')
    usage = chunk.usage ?? usage
  }
  if (!usage) throw new Error('the stream ended without its usage')
  return usage
}

/** The chunks of a stream of server-sent events; an error event is thrown. */
async function* events(response: Response): AsyncGenerator<ChatCompletionChunk> {
  let rest = ''
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      if (!line.startsWith('data: ') || line === 'data: [DONE]') continue
      const data = JSON.parse(line.slice('data: '.length))
      if (data.error) throw new Error(data.error.message)
      yield data
    }
  }
}

interface Bill {
  state: string
  prompt_tokens: number
  completion_tokens: number
  cost_nanousd: string
}

/** The bill is settled by the node's report, which arrives a moment after the last byte. */
async function printBill(ready: Ready, request_id: string): Promise<void> {
  const deadline = performance.now() + BUSY_MS_MAX
  for (;;) {
    const bill = await get<Bill>(ready, `/v1/usage/${request_id}`)
    if (bill.state === 'posted') {
      const { balance_nanousd } = await get<{ balance_nanousd: string }>(ready, '/v1/balance')
      console.log(
        `bill       ${bill.prompt_tokens} tokens in, ${bill.completion_tokens} tokens out: $${usd(bill.cost_nanousd, 9)}`,
      )
      console.log(`balance    $${usd(balance_nanousd, 9)}`)
      console.log(`request    ${request_id}`)
      return
    }
    if (performance.now() > deadline)
      throw new Error(`the bill of ${request_id} is still ${bill.state} after ${BUSY_MS_MAX / 1000} s`)
    await new Promise((done) => setTimeout(done, 50))
  }
}

async function get<T>(ready: Ready, path: string): Promise<T> {
  const response = await fetch(ready.gateway_url + path, { headers: { authorization: `Bearer ${ready.api_key}` } })
  if (!response.ok) throw new Error(`GET ${path} answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as T
}

/** Exact: money stays an integer until its digits are cut for the eye. */
