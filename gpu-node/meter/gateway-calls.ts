// What a node tells its gateway: each call signed with its own key, and each answer by a key of the gateway's that it knows.

import type { Signer } from '../../contract/ed25519.ts'
import { ANSWER_SIGNATURE_HEADER, NODE_KEY_HEADER, NODE_SIGNATURE_HEADER } from '../../contract/internal/sync.ts'
import { verifyAnswer } from '../../contract/internal/ticket.ts'
import type { TicketKeys } from './ticket-keys.ts'

export interface GatewayCallsOptions {
  gateway_url: string
  node_key: Signer // signs the calls
  ticket_keys: Pick<TicketKeys, 'known' | 'learn'> // whoever signs the answers
}

/** The gateway does not take what was told, whoever asks again. */
export class CallRefused extends Error {
  readonly status: number

  constructor(status: number, text: string) {
    super(`the gateway answered ${status} to a report${reasonIn(text)}`)
    this.status = status
  }
}

export class GatewayCalls {
  readonly #options: GatewayCallsOptions

  constructor(options: GatewayCallsOptions) {
    this.#options = options
  }

  async post<A>(path: string, told: object, ms_max: number): Promise<A> {
    const body = JSON.stringify(told)
    const { gateway_url, node_key, ticket_keys } = this.#options
    const report_signature = await node_key.sign('report', body)
    const response = await fetch(gateway_url + path, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        [NODE_KEY_HEADER]: node_key.x,
        [NODE_SIGNATURE_HEADER]: report_signature,
      },
      body,
      signal: AbortSignal.timeout(ms_max),
    })
    const text = await response.text()
    if (!response.ok) throw new CallRefused(response.status, text)
    const signatures = response.headers.get(ANSWER_SIGNATURE_HEADER) ?? ''
    // What it says is settled is forgotten here: so nobody else may say it.
    if (!(await verifyAnswer({ report_signature, body: text, signatures }, ticket_keys.known)))
      throw new Error('an answer to a report was signed by no key of the gateway that this node knows')
    return JSON.parse(text) as A
  }
}

/** What the gateway says of why, in its own words. */
function reasonIn(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: { code: string; message: string } }
    return error ? ` (${error.code}): ${error.message}` : ''
  } catch {
    return ''
  }
}
