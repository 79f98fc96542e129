// Two ways to have questions answered: each by a request of its own, or all of a stage as one batch, at its price. A batch that was made
// before a kill is found again, by a name that was written down before it was made.

import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import OpenAI, { toFile } from 'openai'
import { each } from '../eval/pool.ts'
import type { Answers, Question } from './answers.ts'

export interface Asking {
  client: OpenAI
  model: string
  max_tokens: number
  temperature: number
  concurrency: number
  signal: AbortSignal
}

export type Ask = (questions: Question[], answers: Answers, on_answer: () => void) => Promise<void>

export function askingEach(asking: Asking): Ask {
  return (questions, answers, on_answer) =>
    each(questions, asking.concurrency, async ({ key, text }) => {
      asking.signal.throwIfAborted()
      const { choices } = await asking.client.chat.completions
        .create(bodyOf(asking, text), { signal: asking.signal })
        .catch(emptyWhereRefused)
      answers.keep(key, choices[0]?.message.content ?? '')
      on_answer()
    })
}

/** A question that this model cannot take is one without an answer; any other refusal is of the whole run. */
function emptyWhereRefused(error: unknown): Pick<OpenAI.ChatCompletion, 'choices'> {
  if (error instanceof OpenAI.APIError && error.code === 'context_length_exceeded') return { choices: [] }
  throw error
}

function bodyOf({ model, max_tokens, temperature }: Asking, text: string) {
  return { model, max_tokens, temperature, seed: 0, messages: [{ role: 'user' as const, content: text }] }
}

const POLL_MS = 2000
const ENDED = ['completed', 'expired', 'cancelled', 'failed']

/** `file` holds the name of the batch that is under way. */
export function askingByBatch(asking: Asking, file: string, poll_ms = POLL_MS): Ask {
  return async (questions, answers, on_answer) => {
    if (questions.length === 0) return
    const is_new = !existsSync(file)
    if (is_new) writeFileSync(file, randomUUID())
    const name = readFileSync(file, 'utf8')
    const id = (!is_new && (await batchNamed(asking, name))) || (await begin(asking, questions, name))
    const batch = await ended(asking, id, poll_ms)
    for (const { custom_id, response, error } of await linesOf(asking.client, batch)) {
      if (answers.get(custom_id) !== undefined || error?.code === 'batch_expired') continue
      answers.keep(custom_id, response?.body.choices?.[0]?.message.content ?? '')
      on_answer()
    }
    rmSync(file)
    const left = answers.missing(questions).length
    if (left > 0)
      throw new Error(`${left} lines of the batch ${id} have no answer (${batch.status}); the same command asks again`)
  }
}

async function batchNamed({ client, signal }: Asking, name: string): Promise<string | null> {
  for await (const { id, metadata } of client.batches.list({ limit: 100 }, { signal }))
    if (metadata?.asked_as === name) return id
  return null
}

async function begin(asking: Asking, questions: Question[], name: string): Promise<string> {
  const { client, signal } = asking
  const lines = questions.map(({ key, text }) => ({
    custom_id: key,
    method: 'POST',
    url: '/v1/chat/completions',
    body: bodyOf(asking, text),
  }))
  const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const file = await client.files.create({ purpose: 'batch', file: await toFile(bytes, 'questions.jsonl') }, { signal })
  const window = { endpoint: '/v1/chat/completions', completion_window: '24h' } as const
  const asked = { input_file_id: file.id, ...window, metadata: { asked_as: name } }
  return (await client.batches.create(asked, { signal })).id
}

async function ended({ client, signal }: Asking, id: string, poll_ms: number): Promise<OpenAI.Batch> {
  while (true) {
    const batch = await client.batches.retrieve(id, { signal })
    if (ENDED.includes(batch.status)) return batch
    await sleep(poll_ms, null, { signal })
  }
}

interface Written {
  custom_id: string
  response: { body: { choices?: { message: { content: string | null } }[] } } | null
  error: { code: string } | null
}

/** What was answered, and what was refused: a question that this model cannot take is one without an answer. */
async function linesOf(client: OpenAI, { output_file_id, error_file_id }: OpenAI.Batch): Promise<Written[]> {
  const ids = [output_file_id, error_file_id].flatMap((id) => id ?? [])
  const texts = await Promise.all(ids.map(async (id) => (await client.files.content(id)).text()))
  const lines = texts.flatMap((text) => text.split('\n').filter(Boolean))
  return lines.map((line) => JSON.parse(line) as Written)
}
