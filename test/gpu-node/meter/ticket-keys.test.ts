import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TicketKeys } from '../../../gpu-node/meter/ticket-keys.ts'
import { temporaryFolder } from '../../support/fake-node.ts'
import { issuer, otherSigner, ticketSigner } from '../../support/keys.ts'

const old_key = issuer.keys[0]!
const next_key = { kid: otherSigner.kid, x: otherSigner.x }

test('the first keys are configured, and known by the names that the gateway gives them', async () => {
  expect((await TicketKeys.open(temporaryFolder(), [ticketSigner.x])).known).toEqual([old_key])
})

test('what the gateway tells of takes their place, and is known at the next start beside what is configured', async () => {
  const folder = temporaryFolder()
  const keys = await TicketKeys.open(folder, [old_key.x])
  keys.learn([next_key, old_key])
  expect(keys.known).toEqual([next_key, old_key])
  keys.learn([next_key])
  expect(keys.known).toEqual([next_key])
  expect((await TicketKeys.open(folder, [old_key.x])).known).toEqual([old_key, next_key])
})

test.each([
  ['nothing', undefined],
  ['no key', []],
  ['a key that is none', [{ kid: 'x', x: 'short' }]],
  ['more keys than a gateway has', Array(9).fill(next_key)],
])('%s changes nothing', async (_, told) => {
  const folder = temporaryFolder()
  const keys = await TicketKeys.open(folder, [old_key.x])
  keys.learn(told)
  keys.learn([old_key])
  expect(keys.known).toEqual([old_key])
  expect(existsSync(join(folder, 'ticket-keys.json'))).toBe(false)
})

test.each(['', '{', '{}', '[{"kid": 1}]'])('a file %j is learned again', async (text) => {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'ticket-keys.json'), text)
  expect((await TicketKeys.open(folder, [old_key.x])).known).toEqual([old_key])
})
