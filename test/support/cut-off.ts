// A client whose connection is lost in the middle of an answer: by its own socket, after so many bytes, in every way there is.

import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Random } from './random.ts'

export interface Asked {
  method?: string
  headers: Record<string, string>
  body?: string
}

export interface Read {
  status: number
  headers: IncomingHttpHeaders
  text: string
  is_whole: boolean
}

export const LEAVINGS = ['end', 'destroy', 'resetAndDestroy'] as const

export interface Cut {
  bytes: number
  leave: (typeof LEAVINGS)[number]
}

export function drawnCut(random: Random, bytes_max: number): Cut {
  return { bytes: random.below(bytes_max), leave: random.pick(LEAVINGS) }
}

/** What of the answer came before the connection was cut; all of it where it is not. */
export async function readUntilCut(url: string, { method = 'POST', headers, body }: Asked, cut?: Cut): Promise<Read> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const asking = httpRequest(url, { method, headers: { ...headers, ...length }, agent: false })
    asking.on('response', resolve).on('error', reject).end(body)
  })
  answer.on('error', () => {}) // it is cut
  const { socket } = answer
  const parts: Buffer[] = []
  let bytes = 0
  const read = (is_whole: boolean) => ({
    status: answer.statusCode!,
    headers: answer.headers,
    text: new TextDecoder().decode(Buffer.concat(parts)),
    is_whole,
  })
  return new Promise((resolve) => {
    const leave = () => {
      answer.removeAllListeners('data')
      socket[cut!.leave]()
      resolve(read(false))
    }
    answer.on('close', () => resolve(read(answer.complete)))
    if (cut?.bytes === 0) leave()
    else
      answer.on('data', (part: Buffer) => {
        parts.push(cut ? part.subarray(0, cut.bytes - bytes) : part)
        bytes += part.length
        if (cut && bytes >= cut.bytes) leave()
      })
  })
}

/** The whole events of a text, with nothing said for its own sake. */
export function eventsIn(text: string): string[] {
  return text.split(/(?<=\n\n)/).filter((block) => block.endsWith('\n\n') && !block.startsWith(':'))
}

/** The number of the last event of a text; null where it has none. */
export function lastIdIn(text: string): string | null {
  return (
    eventsIn(text)
      .at(-1)
      ?.match(/^id: (\d+)\n/)?.[1] ?? null
  )
}
