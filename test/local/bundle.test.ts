import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { bundleWorker } from '../../local/bundle.ts'

const bundle = await bundleWorker()

test('the minified worker is small', () => {
  expect(Buffer.byteLength(bundle)).toBeLessThanOrEqual(520_000)
})

test('of zod’s locales it has English alone', () => {
  expect(bundle).toContain('Invalid input')
  expect(bundle).not.toContain('Ongeldige invoer')
})

test('of Stripe’s client it has what the gateway asks and nothing else', () => {
  for (const path of ['/v1/customers', '/v1/checkout/sessions', '/v1/billing/meters', '/v1/billing/meter_events'])
    expect(bundle).toContain(path)
  expect(bundle).not.toContain('/v1/coupons')
})

test('of what libraries can do that nobody asks for it has nothing, and of strings every format that is asked for', () => {
  for (const left_out of ['prefixLengthFromSubnetMask', 'broadcastAddressFromCIDR', 'ZodCIDRv4', 'ZodNanoID'])
    expect(bundle, left_out).not.toContain(left_out)
  const sources = globSync('{contract,gateway}/**/*.ts').map((file) => readFileSync(file, 'utf8'))
  const as_method =
    /(?<!\b(?:z|iso)\s*)\.(email|url|jwt|emoji|guid|uuid|nanoid|cuid|ulid|base64|ipv4|ipv6|cidrv4|e164|datetime|date|time|duration)\(/g
  const as_methods = sources.flatMap((source) => source.match(as_method) ?? [])
  expect(sources.length).toBeGreaterThan(100)
  expect(as_methods).toEqual([])
})
