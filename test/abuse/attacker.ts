// One customer's abuse, from a thread of its own, so that what the neighbour measures is the server and not its own event loop.

import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { createKey } from '../../gateway/auth/key.ts'
import { type Random, randomFrom } from '../support/random.ts'

export interface Attack {
  name: AbuseName
  url: string
  /** Keys of one account; the first has the scope `admin`. */
  keys: string[]
  model: string
  seed: number
  /** 1 is the whole size. */
  scale: number
}

export type AbuseName = keyof typeof abuses

export interface Result {
  statuses: Record<string, number>
}

const COMPLETIONS = '/v1/completions'
const MB = 1 << 20

const { url, keys, model, seed, scale, name } = (workerData ?? {}) as Attack
const agent = new Agent({ keepAlive: true, maxSockets: 1024 })
const statuses: Record<string, number> = {}
let is_over = false

interface Asking {
  method?: 'GET' | 'POST' | 'DELETE'
  key?: string
  body?: string
  headers?: Record<string, string>
  /** Leaves after so long. */
  leave_ms?: number
  /** How much of the body is sent. */
  part?: number
}

function ask(path: string, { method = 'GET', key, body, headers, leave_ms, part = 1 }: Asking = {}): Promise<string> {
  return new Promise((resolve) => {
    const text = body ?? ''
    const asking = request(
      url + path,
      {
        method,
        agent,
        headers: {
          ...(key && { authorization: `Bearer ${key}` }),
          ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...headers,
        },
      },
      (answer) => {
        let said = ''
        answer.on('data', (bytes) => {
          if (said.length < 1000) said += bytes
        })
        answer.on('close', () => {
          statuses[answer.statusCode!] = (statuses[answer.statusCode!] ?? 0) + 1
          resolve(said)
        })
      },
    )
    asking.on('error', () => {
      statuses.left = (statuses.left ?? 0) + 1
      resolve('')
    })
    if (part < 1) asking.write(text.slice(0, Math.floor(part * text.length)))
    else asking.end(text)
    if (leave_ms !== undefined) setTimeout(() => asking.destroy(), leave_ms)
  })
}

/** So many loops at once until it is over. */
async function loops(at_once: number, run: (i: number) => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: at_once }, async (_, i) => {
      while (!is_over) await run(i)
    }),
  )
}

/** Lets so many pass a second. More new connections than a machine can accept wait before any server has seen whose they are. */
function pace(per_second: number): () => Promise<void> {
  let next_ms = performance.now()
  return async () => {
    next_ms = Math.max(next_ms, performance.now()) + 1000 / per_second
    await sleep(next_ms - performance.now())
  }
}

const sized = (random: Random, low: number, high: number) =>
  Math.max(2, Math.floor(scale * (low + random.below(high - low + 1))))

/** A request whose answer has about so many bytes on a node that says 6 bytes a token. */
function large(bytes: number): string {
  const choices = 128
  const max_tokens = Math.max(1, Math.floor(bytes / choices / 6))
  return JSON.stringify({ model, prompt: Array.from({ length: 16 }, () => 'x'), n: 8, max_tokens })
}

const small = JSON.stringify({ model, prompt: 'x', max_tokens: 3 })

/** Each begins, calls `ready` at its full size, and goes on until it is over. */
export const abuses = {
  async 'a kept answer is asked for again and again'(random: Random, ready: () => void) {
    const body = large(200_000 + random.below(600_000))
    const headers = { 'idempotency-key': `again-${random.below(1e9)}` }
    await ask(COMPLETIONS, { method: 'POST', key: keys[0]!, body, headers })
    ready()
    await loops(sized(random, 32, 64), () => ask(COMPLETIONS, { method: 'POST', key: keys[0]!, body, headers }))
  },

  async 'lists are read by many at once'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 48, 96), () => ask('/v1/usage?limit=100', { key: keys[0]! }))
  },

  async 'pages are turned to the end, by several keys'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 16, 48), async (i) => {
      const key = keys[i % keys.length]!
      const path = random.pick(['/v1/usage?limit=100', '/v1/entries?limit=100', '/v1/keys?limit=100'])
      const last = /"last_id":"([^"]+)"/.exec(await ask(path, { key }))?.[1]
      await ask(last ? `${path}&after=${last}` : '/v1/usage?group_by=day,key,model,tag', { key })
    })
  },

  async 'sockets are opened and hardly used'(random: Random, ready: () => void) {
    const { hostname, port } = new URL(url)
    const sockets = Array.from({ length: sized(random, 250, 500) }, () => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.on('connect', () => {
        statuses.opened = (statuses.opened ?? 0) + 1
      })
      return socket
    })
    const heads = [
      'POST /v1/completions HTTP/1.1\r\nhost: x\r\n',
      `POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${keys[0]}\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{`,
    ]
    for (const socket of sockets) socket.write(random.pick(heads))
    ready()
    await loops(1, async () => {
      for (const socket of sockets) if (socket.writable) socket.write(random.pick(['x', ' ', 'a: b\r\n']))
      await new Promise((resolve) => setTimeout(resolve, 100))
    })
    for (const socket of sockets) socket.destroy()
  },

  async 'requests are refused by their limit'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 32, 64), () => ask(COMPLETIONS, { method: 'POST', key: keys[0]!, body: small }))
  },

  async 'keys are guessed'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 16, 64), () =>
      ask(random.pick([COMPLETIONS, '/v1/usage', '/v1/balance']), {
        key: random.chance(0.8) ? createKey() : 'zc_live_wrong',
      }),
    )
  },

  async 'bodies are as large and as wrong as they may be'(random: Random, ready: () => void) {
    const of = (field: string, member: string, head = '', tail = '') =>
      `{"model":"${model}",${head}"${field}":[${Array.from({ length: Math.floor((MB - 200) / (member.length + 1)) }, () => member)}]${tail}}`
    const bodies = [
      of('prompt', 'null'),
      of('prompt', '1.5'),
      of('prompt', '""'),
      of('prompt', '[]'),
      of('messages', '{}'),
      of('messages', '1'),
      of('stop', '1', '"prompt":"x",'),
      of('stop_token_ids', '-1', '"prompt":"x",'),
      of('tags', '"a"', '"name":"x",'),
      of('allowed_ips', '1', '"name":"x",'),
      `{"prompt":${'['.repeat(500_000)}${']'.repeat(500_000)}}`,
      `{${Array.from({ length: 90_000 }, (_, i) => `"${i}":1`)}}`,
      `{"model":"${model}","prompt":"x","logit_bias":{${Array.from({ length: 80_000 }, (_, i) => `"${i}":1`)}}}`,
      `{"messages":[${Array.from({ length: 250 }, () => `{"role":"user","content":[${Array.from({ length: 2000 }, () => 1)}]}`)}]}`,
    ]
    ready()
    await loops(sized(random, 8, 24), () =>
      ask(random.pick([COMPLETIONS, '/v1/chat/completions', '/v1/keys']), {
        method: 'POST',
        key: random.chance(0.5) ? createKey() : keys[0]!,
        body: random.pick(bodies),
      }),
    )
  },

  async 'an Idempotency-Key comes with many bodies at once'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 32, 64), () => {
      const body = JSON.stringify({ model, prompt: `x${random.below(4)}`, max_tokens: 3 })
      const headers = { 'idempotency-key': `collision-${random.below(3)}` }
      return ask(random.pick([COMPLETIONS, COMPLETIONS, '/v1/keys']), { method: 'POST', key: keys[0]!, body, headers })
    })
  },

  async 'clients leave at every point'(random: Random, ready: () => void) {
    const body = JSON.stringify({ model, prompt: 'x'.repeat(100_000), max_tokens: 500, stream: true })
    const turn = pace(sized(random, 100, 500))
    ready()
    await loops(sized(random, 32, 128), async () => {
      await turn()
      await ask(COMPLETIONS, {
        method: 'POST',
        key: keys[0]!,
        body,
        leave_ms: random.below(60),
        ...(random.chance(0.5) && { part: random.below(100) / 100 }),
      })
    })
  },

  async 'as much is kept as may be'(random: Random, ready: () => void) {
    const body = large(50_000 + random.below(700_000))
    ready()
    await loops(sized(random, 4, 16), (i) =>
      ask(COMPLETIONS, {
        method: 'POST',
        key: keys[0]!,
        body,
        headers: { 'idempotency-key': `kept-${i}-${random.below(1e9)}` },
      }),
    )
  },

  async 'keys are made, rotated and revoked'(random: Random, ready: () => void) {
    ready()
    await loops(sized(random, 8, 32), async () => {
      const made = await ask('/v1/keys', { method: 'POST', key: keys[0]!, body: '{"name":"x"}' })
      const id = /"id":"(\d+)"/.exec(made)?.[1]
      if (!id) return
      await ask(`/v1/keys/${id}/rotate`, { method: 'POST', key: keys[0]!, body: '{}' })
      await ask(`/v1/keys/${id}`, { method: 'DELETE', key: keys[0]! })
    })
  },
}

if (parentPort && name) {
  const port = parentPort
  const over = once(port, 'message').then(() => {
    is_over = true
  })
  await abuses[name](randomFrom(seed), () => port.postMessage('ready'))
  await over
  agent.destroy()
  port.postMessage({ statuses } satisfies Result)
}
