// The gateway of the release before this one goes on serving while the schema is already this one's: so the schema is migrated first, and
// a gateway can be put back.
//   PREVIOUS_RELEASE_REQUESTS=1000 npm test -- test/previous-release

import { afterAll, beforeAll, expect, test } from 'vitest'
import * as z from 'zod'
import * as schemas from '../../gateway/db/functions/schemas.ts'
import { type RunningGateway, startGateway } from '../../local/gateway.ts'
import { admin_key, PATIENT } from '../support/gateway.ts'
import { TICKET_SEED } from '../support/keys.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import {
  openOf,
  type PreviousNode,
  previousBoundary,
  previousWorker,
  type Shape,
  startPreviousNode,
} from '../support/previous-release.ts'
import { seededRandom } from '../support/random.ts'
import { type StripeServer, startStripeServer } from '../support/stripe-server.ts'
import { Visit } from './visit.ts'

const node_secret = 'node-secret-of-the-tests'
const REQUESTS = Number(process.env.PREVIOUS_RELEASE_REQUESTS ?? 60)

let db: TestPostgres
let gateway: RunningGateway
let node: PreviousNode
let stripe: StripeServer

beforeAll(async () => {
  db = await startTestPostgres()
  await db.sql`alter database postgres set track_functions = 'pl'`
  const stripe_secrets = { secret_key: 'sk_test', webhook_secret: 'whsec_test', meter_id: 'mtr_test' }
  stripe = await startStripeServer({ ...stripe_secrets, event_name: 'api_usage_nanousd' })
  const vars = {
    ...PATIENT,
    NODE_SECRET: node_secret,
    STRIPE_SECRET_KEY: stripe_secrets.secret_key,
    STRIPE_WEBHOOK_SECRET: stripe_secrets.webhook_secret,
    STRIPE_METER_ID: stripe_secrets.meter_id,
    STRIPE_API_URL: stripe.url,
  }
  const log = process.env.GATEWAY_LOG ? console.log : () => {}
  const sieve = { FLOOD: 1e9, FAILED_AUTHENTICATION: 1e9 }
  gateway = await startGateway({
    port: 0,
    database_url: db.url,
    ticket_seeds: TICKET_SEED, // which it does not know
    admin_key,
    vars,
    rate_limits: sieve,
    worker: previousWorker(),
    log,
  })
  node = await startPreviousNode(gateway.url, node_secret)
})
afterAll(async () => {
  await node?.stop()
  await gateway?.stop()
  await stripe?.stop()
  await db?.stop()
})

test(`${REQUESTS} requests of every kind to the release before, on this schema: none fails`, {
  timeout: 20_000 + REQUESTS * 1000,
}, async () => {
  const random = seededRandom()
  const visit = await Visit.begin({ url: gateway.url, admin_key, node, stripe, random })
  await visit.go(REQUESTS)
  await gateway.runScheduled() // throws where a duty fails
  expect(visit.failures).toEqual([])
  expect(visit.count).toBeGreaterThanOrEqual(REQUESTS)
  expect([...new Set(node.outcomes.values())]).toEqual(['posted'])
  const drift = await db.sql`select check_name, account_id from ledger_findings`
  expect(drift).toEqual([])
})

/** What is asked in one shape, and not taken by another. */
function refusedOf(asked: Shape, taker: Shape, place: string): string[] {
  const takers = variantsOf(taker)
  return variantsOf(asked).flatMap((one) => {
    const findings = takers.map((other) => refusedOfOne(one, other, place))
    return findings.some(({ length }) => length === 0) ? [] : findings.sort((a, b) => a.length - b.length)[0]!
  })
}

function refusedOfOne(asked: Shape, taker: Shape, place: string): string[] {
  const values = valuesOf(taker)
  if (values && !(valuesOf(asked) ?? [Symbol('any other')]).every((value) => values.includes(value)))
    return [`${place} may no longer be all that it was`]
  const types = [asked.type ?? []].flat()
  if (taker.type && !types.every((type) => [taker.type].flat().includes(type))) return [`${place} is of another type`]
  if (asked.items && taker.items) return refusedOf(asked.items, taker.items, `${place}[]`)
  return fieldsRefused(asked, taker, place)
}

function fieldsRefused(asked: Shape, taker: Shape, place: string): string[] {
  const missing = (taker.required ?? []).filter((name) => !asked.required?.includes(name))
  const fields = Object.entries(asked.properties ?? {}).flatMap(([name, field]) => {
    const taken = taker.properties?.[name]
    if (taken) return refusedOf(field, taken, `${place}.${name}`)
    return taker.additionalProperties === false ? [`${place}.${name} is not known any more`] : []
  })
  return [...missing.map((name) => `${place}.${name} is required now`), ...fields]
}

function variantsOf(shape: Shape): Shape[] {
  return shape.anyOf ?? shape.oneOf ?? [shape]
}

function valuesOf({ enum: values, const: value }: Shape): unknown[] | undefined {
  return values ?? (value === undefined ? undefined : [value])
}

/** An answer's shapes by its decisions. A decision that is new is of an item that asked for it. */
function decisionsOf(shape: Shape): Map<unknown, Shape[]> {
  const listed = variantsOf(shape).flatMap((one) =>
    (valuesOf(one.properties?.decision ?? {}) ?? []).map((decision) => ({
      decision,
      shape: { ...one, properties: { ...one.properties, decision: { const: decision } } },
    })),
  )
  return new Map(
    [...Map.groupBy(listed, ({ decision }) => decision)].map(([of, all]) => [of, all.map((one) => one.shape)]),
  )
}

const now = Object.fromEntries(
  Object.entries(schemas).map(([name, { item, answer }]) => {
    const json = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Shape
    return [name, { item: json(item), answer: json(answer) }]
  }),
)

// What is only passed on to a person may have values that are new.
const WIDENED = ['allowed.findings[].check may no longer be all that it was']

test.each(Object.entries(previousBoundary()))(
  'what the release before asks of api.%s is taken, and answered in its words',
  (name, before) => {
    expect(Object.keys(now)).toContain(name)
    expect(refusedOf(before.item, now[name]!.item, 'item')).toEqual([])
    const known = decisionsOf(before.answer)
    for (const [decision, shapes] of decisionsOf(now[name]!.answer))
      for (const shape of shapes)
        if (known.has(decision))
          expect(
            refusedOf(shape, openOf({ anyOf: known.get(decision)! }), String(decision)).filter(
              (finding) => !WIDENED.includes(finding),
            ),
          ).toEqual([])
  },
)

test('an item that lost a field, wants one more, or has fewer values is found, and so is an answer that lost one', () => {
  const thing = (fields: Record<string, Shape>, required: string[]): Shape => ({
    type: 'object',
    properties: fields,
    required,
    additionalProperties: false,
  })
  const before = thing({ a: { type: 'string' }, b: { enum: ['x', 'y'] } }, ['a'])
  expect(refusedOf(before, thing({ a: { type: 'string' } }, ['a']), 'item')).toEqual(['item.b is not known any more'])
  expect(
    refusedOf(before, thing({ a: { type: 'string' }, b: { enum: ['x', 'y'] }, c: {} }, ['a', 'c']), 'item'),
  ).toEqual(['item.c is required now'])
  expect(refusedOf(before, thing({ a: { type: 'string' }, b: { const: 'x' } }, ['a']), 'item')).toEqual([
    'item.b may no longer be all that it was',
  ])
  expect(refusedOf(before, thing({ a: { type: 'integer' }, b: { enum: ['x', 'y'] } }, []), 'item')).toEqual([
    'item.a is of another type',
  ])
  expect(refusedOf(thing({}, []), openOf(before), 'answer')).toEqual(['answer.a is required now'])
  expect(refusedOf(before, before, 'item')).toEqual([])
})
