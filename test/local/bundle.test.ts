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
