import { expect, test } from 'vitest'
import { sign, signTicket, type Ticket, verify, verifyTicket } from '../../../contract/internal/ticket.ts'

const SECRET = 'a secret of gateway and node'
const ticket: Ticket = {
  request_id: '0b0f2a52-7a39-4c7e-8a54-7f1b8f2b9a11',
  attempt: 1,
  account_id: 'account',
  cache_salt: 'salt',
  key_id: 'key',
  model: 'ziya-coding-mini · 写',
  price_version: 3,
  reserved_nanousd: '9007199254740993',
  prompt_tokens_max: 10,
  request_output_tokens_max: 20,
  duration_ms_max: 60_000,
}

test('a signed ticket is read back whole', async () => {
  expect(await verifyTicket(await signTicket(ticket, SECRET), SECRET)).toEqual(ticket)
})

test('a ticket is safe in a header', async () => {
  expect(await signTicket(ticket, SECRET)).toMatch(/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$/)
})

test('a ticket signed with another secret is none', async () => {
  expect(await verifyTicket(await signTicket(ticket, 'another secret'), SECRET)).toBeNull()
})

test('a ticket with any character changed is none', async () => {
  const text = await signTicket(ticket, SECRET)
  // Two bits of a signature's last character mean nothing, so that character is left out.
  for (let at = 0; at < text.length - 1; at++) {
    const changed = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
    expect(await verifyTicket(changed, SECRET), `character ${at}`).toBeNull()
  }
})

test.each(['', '.', 'a', 'a.', '.a', 'a.b', 'a.b.c', 'ä.ö', `${'A'.repeat(5000)}.${'A'.repeat(43)}`])(
  'the text %j is no ticket',
  async (text) => {
    expect(await verifyTicket(text, SECRET)).toBeNull()
  },
)

test('a ticket with something after its signature is none', async () => {
  const text = await signTicket(ticket, SECRET)
  for (const more of ['.', '.x', '=', ' ']) expect(await verifyTicket(text + more, SECRET)).toBeNull()
})

test('a signature holds for its message and secret alone', async () => {
  const signature = await sign('{"records":[]}', SECRET)
  expect(await verify('{"records":[]}', signature, SECRET)).toBe(true)
  expect(await verify('{"records":[] }', signature, SECRET)).toBe(false)
  expect(await verify('{"records":[]}', signature, 'another secret')).toBe(false)
  expect(await verify('{"records":[]}', '', SECRET)).toBe(false)
})
