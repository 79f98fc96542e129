// Sends what was drawn over a plain socket, which takes what fetch would not, and holds the answer against the document of the API.

import { Agent, request } from 'node:http'
import { expect } from 'vitest'
import type { DrawnRequest, RequestDrawer } from './drawn-requests.ts'
import { expectDocumented } from './openapi.ts'
import { PATIENCE_MS } from './patience.ts'

const STATES = new Set(['/readyz', '/healthz', '/healthz/ledger']) // what they say is a state, and 503 one of them
const MESSAGES = new Set(['/v1/messages', '/v1/messages/count_tokens'])
const MESSAGES_ERROR = 'details,message,type'
const ERROR = 'code,message,param,type'

const agent = new Agent({ keepAlive: true })

/** Draws and sends so many, some at once; how often each status came. */
export async function sendDrawn(
  url: string,
  drawer: RequestDrawer,
  count: number,
  at_once: number,
  keyOf: (path: string) => string | null,
): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {}
  let started = 0
  const work = async () => {
    while (started < count) {
      started += 1
      const asked = drawer.draw()
      const key = keyOf(asked.path)
      if (key) asked.headers.authorization = `Bearer ${key}`
      const status = await answered(url, asked)
      statuses[status] = (statuses[status] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: at_once }, work))
  return statuses
}

/** The status of an answer that came, is none of 500 and more, and has the shape that the document says. */
async function answered(url: string, asked: DrawnRequest): Promise<number> {
  const said = `${asked.method} ${asked.path.slice(0, 300)} ${JSON.stringify(asked.headers)} ${asked.body?.subarray(0, 2000)}`
  const { status, headers, body } = await send(url, asked).catch((error) => {
    throw new Error(`${error}: ${said}`)
  })
  const path = asked.path.split('?')[0]!
  if (status === 503 && STATES.has(path)) return status
  if (status >= 500) throw new Error(`${status} ${body.slice(0, 500)}: ${said}`)
  if (asked.method === 'HEAD' || asked.method === 'OPTIONS') return status
  if (status >= 400) expect(shapesAt(path), `${status} ${body.slice(0, 300)}: ${said}`).toContain(shapeOf(body))
  const answer = new Response(status === 204 ? null : body, { status, headers })
  await expectDocumented(url + path, { method: asked.method }, answer)
  return status
}

// Beside the Messages API, at a path that is nearly one of its own, either form is right.
function shapesAt(path: string): string[] {
  if (MESSAGES.has(path)) return [MESSAGES_ERROR]
  return path.startsWith('/v1/messages') ? [MESSAGES_ERROR, ERROR] : [ERROR]
}

function shapeOf(body: string): string {
  try {
    return Object.keys((JSON.parse(body) as { error: object }).error)
      .sort()
      .join()
  } catch {
    return 'no JSON'
  }
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

function send(url: string, { method, path, headers, body }: DrawnRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = body ? { 'content-length': String(body.length) } : {}
    const sent = request(url + path, {
      method,
      agent,
      headers: { ...headers, ...length },
      timeout: PATIENCE_MS,
    })
    sent.on('timeout', () => sent.destroy(new Error('no answer came')))
    sent.on('error', reject)
    sent.on('response', (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: { 'content-type': response.headers['content-type'] ?? '' },
          body: Buffer.concat(parts).toString(),
        }),
      )
    })
    sent.end(body ?? undefined)
  })
}
