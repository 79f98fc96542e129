// The ticket: the gateway's signed permission for one node to make one attempt at one generation, with its caps. A node can read it
// and check it, and can make none. What only the gateway will need when it comes back (whose money it is, and how much) is sealed in
// it, so a node learns of no account. Format: kid "." base64url(JSON) "." base64url(Ed25519 signature of the first two).

import { fromBase64Url, toBase64Url } from '../base64url.ts'
import { type PublicKey, type Signer, signer, verifies } from '../ed25519.ts'
import { hmac } from '../hmac.ts'
import { signQuestion } from './question.ts'

export interface Ticket {
  request_id: string
  attempt: number
  node_id: string // the one node that may take it
  body_sha256: string // of the bytes of the request's body, base64url
  expires_unix_ms: number // no node takes it after that
  /** Roots the account's part of the prefix cache. Only the gateway can make one, and it tells the node nothing. */
  cache_salt: string
  model: string
  prompt_tokens_max: number // over all prompts
  request_output_tokens_max: number // over all choices
  duration_ms_max: number // relative: a generation ends by the node's monotonic clock
  /** How long a stream that lost its client waits for one who goes on reading it; missing where it ends with its client. */
  resume_ms_max?: number
  sealed: string // a Claim, for the gateway alone
}

/** What a ticket is worth to the ledger: the reservation that its usage is charged to. */
export interface Claim {
  account_id: string
  key_id: string
  price_version: number
  reserved_nanousd: string // bigint as decimal
  issued_unix_ms: number
}

/** A ticket that came back with its usage, opened. */
export type OpenedTicket = Omit<Ticket, 'sealed'> & Claim

/** Signs tickets with the first of its keys, and knows those that any of them signed. */
export interface TicketIssuer {
  /** The public halves of all of them: what is given to nodes. */
  keys: PublicKey[]
  issue(ticket: Omit<Ticket, 'sealed'>, claim: Claim): Promise<string>
  /** Null where the text was not signed by one of these keys. */
  open(text: string): Promise<OpenedTicket | null>
  /** Signs what a node is asked beside generations. */
  signQuestion(asked: { node_id: string; expires_unix_ms: number; body: string }): Promise<string>
  /** Signs an answer to a node's report, by every key: a node that knows any of them believes it. */
  signAnswer(report_signature: string, body: string): Promise<string>
}

interface IssuingKey {
  signer: Signer
  seal: SealKey
}
type SealKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Of one or more seeds. The first one signs; the others are about to, or did. */
export async function ticketIssuer(seeds: readonly string[]): Promise<TicketIssuer> {
  const own = await Promise.all(seeds.map(async (seed) => ({ signer: await signer(seed), seal: await sealKey(seed) })))
  const first = own[0]
  if (!first) throw new Error('an issuer of tickets needs a seed')
  return {
    keys: own.map(({ signer: { kid, x } }) => ({ kid, x })),
    issue: async (ticket, claim) => signTicket({ ...ticket, sealed: await seal(claim, first) }, first.signer),
    open: (text) => open(text, own),
    signQuestion: (asked) => signQuestion(first.signer, asked),
    signAnswer: async (report_signature, body) => {
      const signed = own.map(
        async ({ signer: { kid, sign } }) => `${kid}.${await sign('answer', answered(report_signature, body))}`,
      )
      return (await Promise.all(signed)).join()
    },
  }
}

export async function signTicket(ticket: Ticket, { kid, sign }: Signer): Promise<string> {
  const signed = `${kid}.${toBase64Url(encoder.encode(JSON.stringify(ticket)))}`
  return `${signed}.${await sign('ticket', signed)}`
}

/** The ticket, or null where the text was not signed by one of these keys. */
export async function verifyTicket(text: string, keys: readonly PublicKey[]): Promise<Ticket | null> {
  const [kid, payload, signature, ...rest] = text.split('.')
  const key = keys.find((known) => known.kid === kid)
  if (!key || !payload || !signature || rest.length > 0) return null
  if (!(await verifies(key, 'ticket', `${kid}.${payload}`, signature))) return null
  const bytes = fromBase64Url(payload)
  // What the gateway signed it wrote itself: the shape needs no second check.
  return bytes && (JSON.parse(decoder.decode(bytes)) as Ticket)
}

/** Whether one of these keys signed the answer to this very report. */
export async function verifyAnswer(
  { report_signature, body, signatures }: { report_signature: string; body: string; signatures: string },
  keys: readonly PublicKey[],
): Promise<boolean> {
  for (const [kid, signature] of signatures.split(',').map((signed) => signed.split('.'))) {
    const key = keys.find((known) => known.kid === kid)
    if (key && signature && (await verifies(key, 'answer', answered(report_signature, body), signature))) return true
  }
  return false
}

// An answer is one to a report: recorded, it answers no other.
function answered(report_signature: string, body: string): string {
  return `${report_signature}\n${body}`
}

async function open(text: string, own: readonly IssuingKey[]): Promise<OpenedTicket | null> {
  const ticket = await verifyTicket(
    text,
    own.map(({ signer }) => signer),
  )
  const key = own.find(({ signer: { kid } }) => text.startsWith(`${kid}.`))
  if (!ticket || !key) return null
  const { sealed, ...told } = ticket
  const claim = await unseal(sealed, key)
  return claim && { ...told, ...claim }
}

const IV_BYTES = 12

/** AES-GCM, the random IV in front. */
async function seal(claim: Claim, { seal: key }: IssuingKey): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, encoder.encode(JSON.stringify(claim)))
  const all = new Uint8Array(IV_BYTES + sealed.byteLength)
  all.set(iv)
  all.set(new Uint8Array(sealed), IV_BYTES)
  return toBase64Url(all)
}

async function unseal(sealed: string, { seal: key }: IssuingKey): Promise<Claim | null> {
  const all = fromBase64Url(sealed)
  if (!all) return null
  const opened = crypto.subtle.decrypt({ name: 'AES-GCM', iv: all.slice(0, IV_BYTES) }, key, all.slice(IV_BYTES))
  const bytes = await opened.catch(() => null)
  return bytes && (JSON.parse(decoder.decode(bytes)) as Claim)
}

async function sealKey(seed: string): Promise<SealKey> {
  const bytes = fromBase64Url(await hmac('the claims of tickets', seed))!
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt'])
}

/** SHA-256 of a body as a ticket names it. */
export async function bodyHash(body: string): Promise<string> {
  return toBase64Url(new Uint8Array(await crypto.subtle.digest('SHA-256', encoder.encode(body))))
}
