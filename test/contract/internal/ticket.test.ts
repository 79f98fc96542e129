import { expect, test } from 'vitest'
import { signer, verifies } from '../../../contract/ed25519.ts'
import { signTicket, type Ticket, ticketIssuer, verifyAnswer, verifyTicket } from '../../../contract/internal/ticket.ts'
import { issuer, OTHER_SEED, otherSigner, reissued, TICKET_SEED, ticketSigner } from '../../support/keys.ts'

const permission: Omit<Ticket, 'sealed'> = {
  request_id: '0b0f2a52-7a39-4c7e-8a54-7f1b8f2b9a11',
  attempt: 1,
  node_id: 'node',
  body_sha256: 'A'.repeat(43),
  expires_unix_ms: 1_700_000_000_000,
  cache_salt: 'salt',
  model: 'ziya-coding-mini · 写',
  prompt_tokens_max: 10,
  request_output_tokens_max: 20,
  duration_ms_max: 60_000,
}
const ticket: Ticket = { ...permission, sealed: 'sealed' }
const claim = {
  account_id: '17',
  key_id: '23',
  price_version: 3,
  reserved_nanousd: '9007199254740993',
  issued_unix_ms: 1_700_000_000_000,
}

test('a signed ticket is read back whole', async () => {
  expect(await verifyTicket(await signTicket(ticket, ticketSigner), issuer.keys)).toEqual(ticket)
})

test('a ticket is safe in a header', async () => {
  expect(await signTicket(ticket, ticketSigner)).toMatch(/^[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/)
})

test('a ticket signed with another key is none, also where it names ours', async () => {
  const forged = await signTicket(ticket, otherSigner)
  expect(await verifyTicket(forged, issuer.keys)).toBeNull()
  const renamed = await signTicket(ticket, { ...otherSigner, kid: ticketSigner.kid })
  expect(await verifyTicket(renamed, issuer.keys)).toBeNull()
})

test('a ticket with any character changed is none', async () => {
  const text = await signTicket(ticket, ticketSigner)
  // Four bits of a signature's last character mean nothing, so that character is left out.
  for (let at = 0; at < text.length - 1; at++) {
    const changed = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
    expect(await verifyTicket(changed, issuer.keys), `character ${at}`).toBeNull()
  }
})

test.each(['', '.', 'a', 'a.', '.a', 'a.b', 'a.b.c', 'ä.ö.ü', `${ticketSigner.kid}..`, `${ticketSigner.kid}.x.ä`])(
  'the text %j is no ticket',
  async (text) => {
    expect(await verifyTicket(text, issuer.keys)).toBeNull()
  },
)

test('a ticket with something after its signature is none', async () => {
  const text = await signTicket(ticket, ticketSigner)
  for (const more of ['.', '.x', '=', ' ']) expect(await verifyTicket(text + more, issuer.keys)).toBeNull()
})

test('the issuer opens what it issued, and a node reads nothing of whose money it is', async () => {
  const text = await issuer.issue(permission, claim)
  expect(await issuer.open(text)).toEqual({ ...permission, ...claim })
  const { sealed, ...seen } = (await verifyTicket(text, issuer.keys))!
  expect(seen).toEqual(permission)
  expect(Buffer.from(sealed, 'base64url').toString('latin1')).not.toContain(claim.reserved_nanousd)
  const again = (await verifyTicket(await issuer.issue(permission, claim), issuer.keys))!
  expect(again.sealed).not.toBe(sealed) // nor which tickets are of one account
})

test('a claim that was sealed by another is none, though the ticket is signed', async () => {
  const other = await ticketIssuer([OTHER_SEED])
  const { sealed } = (await verifyTicket(await other.issue(permission, claim), other.keys))!
  for (const forged of [sealed, 'x', '', 'A'.repeat(100)])
    expect(await issuer.open(await signTicket({ ...permission, sealed: forged }, ticketSigner))).toBeNull()
})

test('an issuer of several keys signs with the first and opens what any of them signed', async () => {
  const next = await ticketIssuer([OTHER_SEED, TICKET_SEED])
  const old_ticket = await issuer.issue(permission, claim)
  const new_ticket = await next.issue(permission, claim)
  expect(await next.open(old_ticket)).toEqual({ ...permission, ...claim })
  expect(await next.open(new_ticket)).toEqual({ ...permission, ...claim })
  expect(await issuer.open(new_ticket)).toBeNull()
  expect(await verifyTicket(new_ticket, [otherSigner])).not.toBeNull()
  expect(await issuer.open(await reissued(old_ticket, {}, next))).toBeNull()
})

test('an answer is believed for its report and body alone, by whoever knows one of its keys', async () => {
  const both = await ticketIssuer([OTHER_SEED, TICKET_SEED])
  const signatures = await both.signAnswer('report', '{}')
  const answer = { report_signature: 'report', body: '{}', signatures }
  for (const keys of [[ticketSigner], [otherSigner], both.keys]) expect(await verifyAnswer(answer, keys)).toBe(true)
  expect(await verifyAnswer(answer, [])).toBe(false)
  expect(await verifyAnswer({ ...answer, body: '{ }' }, both.keys)).toBe(false)
  expect(await verifyAnswer({ ...answer, report_signature: 'another' }, both.keys)).toBe(false)
  for (const none of ['', ',', '.', `${otherSigner.kid}.`, `${otherSigner.kid}.AAAA`])
    expect(await verifyAnswer({ ...answer, signatures: none }, both.keys)).toBe(false)
})

test('a signature holds for its purpose, its text and its key alone', async () => {
  const key = await signer(TICKET_SEED)
  const signature = await key.sign('report', 'text')
  expect(await verifies(key, 'report', 'text', signature)).toBe(true)
  expect(await verifies(key, 'ticket', 'text', signature)).toBe(false)
  expect(await verifies(key, 'report', 'text ', signature)).toBe(false)
  expect(await verifies(otherSigner, 'report', 'text', signature)).toBe(false)
  for (const none of ['', 'x', 'ä', signature.slice(1)]) expect(await verifies(key, 'report', 'text', none)).toBe(false)
  for (const x of ['A'.repeat(43), '_'.repeat(43), 'x'])
    expect(await verifies({ x }, 'report', 'text', signature)).toBe(false)
})

test.each(['', 'short', 'A'.repeat(44), 'ä'.repeat(43)])('%j is no seed', async (seed) => {
  await expect(signer(seed)).rejects.toThrow('32 bytes')
})
