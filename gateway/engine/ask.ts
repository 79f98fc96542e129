// One attempt at one node: it accepts and its answer is the client's, or it refuses, or it cannot be reached.

import { ACCEPTED_HEADER, type NodeError, TICKET_HEADER } from '../../contract/internal/generation.ts'
import { QUESTION_HEADER } from '../../contract/internal/question.ts'

export type NodeAnswer = { accepted: Response } | RefusedByNode | 'unreachable'

interface RefusedByNode {
  refused: NodeError['error']
  retry_after_s: number | null
}

export async function askNode(
  url: string,
  { ticket, body, client, ms_max }: { ticket: string; body: string; client: AbortSignal; ms_max: number }, // the ticket names the body
): Promise<NodeAnswer> {
  // The deadline outlives the head: it ends the body of a node that stalls. A client that leaves ends it at once.
  const signal = AbortSignal.any([client, AbortSignal.timeout(ms_max)])
  const headers = { 'content-type': 'application/json', [TICKET_HEADER]: ticket }
  try {
    const answer = await fetch(`${url}/generate`, { method: 'POST', headers, body, signal })
    return answer.headers.get(ACCEPTED_HEADER) === '1' ? { accepted: answer } : await refusalOf(answer)
  } catch (error) {
    if (client.aborted) throw error
    return 'unreachable'
  }
}

const QUESTION_MS_MAX = 10_000

/** The same for what goes without a ticket. */
export async function askQuestion(
  url: string,
  { signature, body }: { signature: string; body: string },
): Promise<NodeAnswer> {
  const headers = { 'content-type': 'application/json', [QUESTION_HEADER]: signature }
  const signal = AbortSignal.timeout(QUESTION_MS_MAX)
  try {
    const answer = await fetch(`${url}/question`, { method: 'POST', headers, body, signal })
    return answer.ok ? { accepted: answer } : await refusalOf(answer)
  } catch {
    return 'unreachable'
  }
}

// So long a node may take to say whether it has a stream.
const HEAD_MS_MAX = 5000

/** Goes on with a stream that this node runs; null where it does not, or cannot be reached. */
export async function askToResume(
  url: string,
  { signature, body, client, ms_max }: { signature: string; body: string; client: AbortSignal; ms_max: number },
): Promise<Response | null> {
  const head = new AbortController()
  const late = setTimeout(() => head.abort(), HEAD_MS_MAX)
  const headers = { 'content-type': 'application/json', [QUESTION_HEADER]: signature }
  const signal = AbortSignal.any([client, head.signal, AbortSignal.timeout(ms_max)])
  try {
    const answer = await fetch(`${url}/resume`, { method: 'POST', headers, body, signal })
    if (answer.headers.get(ACCEPTED_HEADER) === '1') return answer
    await answer.body?.cancel()
    return null
  } catch {
    return null
  } finally {
    clearTimeout(late)
  }
}

async function refusalOf(answer: Response): Promise<RefusedByNode> {
  const { error } = (await answer.json()) as Partial<NodeError>
  if (!error) throw new Error(`a node answered ${answer.status} without an error`)
  const retry_after_s = Number(answer.headers.get('retry-after') ?? Number.NaN)
  return { refused: error, retry_after_s: Number.isInteger(retry_after_s) ? retry_after_s : null }
}
