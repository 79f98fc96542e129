// The document of the API, OpenAPI 3.1, made of the route table and of the schemas that endpoints read bodies and queries by and that
// type their answers.

import * as z from 'zod'
import * as accounts from '../contract/public/account.ts'
import * as anomalies from '../contract/public/anomaly.ts'
import * as audit from '../contract/public/audit.ts'
import * as balances from '../contract/public/balance.ts'
import * as batches from '../contract/public/batch.ts'
import * as billing from '../contract/public/billing.ts'
import * as checkout from '../contract/public/checkout.ts'
import * as creditNotes from '../contract/public/credit-note.ts'
import * as entries from '../contract/public/entry.ts'
import * as errors from '../contract/public/error.ts'
import * as files from '../contract/public/file.ts'
import * as health from '../contract/public/health.ts'
import * as invoices from '../contract/public/invoice.ts'
import * as keys from '../contract/public/key.ts'
import * as messages from '../contract/public/messages.ts'
import * as models from '../contract/public/model.ts'
import * as notifications from '../contract/public/notifications.ts'
import * as openai from '../contract/public/openai.ts'
import * as operators from '../contract/public/operator.ts'
import * as prices from '../contract/public/price.ts'
import * as receiptKeys from '../contract/public/receipt-key.ts'
import * as reconciliation from '../contract/public/reconciliation.ts'
import * as responseBodies from '../contract/public/responses.ts'
import * as tax from '../contract/public/tax.ts'
import * as tokens from '../contract/public/tokens.ts'
import * as usage from '../contract/public/usage.ts'
import * as webhooks from '../contract/public/webhook.ts'
import * as webhookEvents from '../contract/public/webhook-event.ts'
import type { Description } from './endpoint.ts'
import type { Route, Served } from './route.ts'

const VERSION = '0.1.0' // of package.json

export type Json = Record<string, unknown>

/** Paths of nodes and of Stripe are no part of the public API. */
const isPublic = ({ who }: Route) => who !== 'node' && who !== 'stripe'

export function openApiDocument(routes: Route[]): Json {
  const components = new Components()
  const paths = Object.fromEntries(
    routes.filter(isPublic).map((route) => [route.path.replace(/:(\w+)/g, '{$1}'), pathItem(route, components)]),
  )
  const error = components.schemaOf(errors.errorBody, 'output')
  return {
    openapi: '3.1.0',
    info: {
      title: 'Ziya Code API',
      version: VERSION,
      description: 'A metered API for self-hosted code models. Amounts of money are nano-USD, as decimal strings.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer', description: 'A key of an account: zc_live_…' },
        operator: { type: 'http', scheme: 'bearer', description: 'A key of an operator: zc_admin_…' },
        monitor: { type: 'http', scheme: 'bearer', description: 'The token of the metrics.' },
      },
      responses: { Error: { description: 'A refusal.', content: { 'application/json': { schema: error } } } },
      schemas: components.sorted(),
    },
  }
}

function pathItem(route: Route, components: Components): Json {
  return Object.fromEntries(
    route.methods.map((served) => [served.method.toLowerCase(), operation(route, served, components)]),
  )
}

function operation({ path, who, scope }: Route, served: Served, components: Components): Json {
  const { says, query, body, form, example } = served.description
  const parameters = [
    ...Array.from(path.matchAll(/:(\w+)/g), ([, name]) => ({ name, in: 'path', required: true, schema: TEXT })),
    ...(query ? queryParameters(components.schemaOf(query, 'input')) : []),
    ...(served.takes_idempotency_key ? [IDEMPOTENCY_KEY] : []),
    ...(served.description.also?.['text/event-stream'] ? [LAST_EVENT_ID] : []),
  ]
  const needs = served.role
    ? `Needs an operator of the role ${served.role}${served.role === 'owner' ? '' : served.role === 'read' ? ' or any other' : ' or owner'}.`
    : scope && `Needs a key with the scope ${scope} or admin.`
  return {
    summary: says,
    ...(needs && { description: needs }),
    security: who === 'anybody' ? [] : [{ [who]: [] }],
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: true,
        content: { 'application/json': { schema: components.schemaOf(body, 'input'), ...(example && { example }) } },
      },
    }),
    ...(form && {
      requestBody: {
        required: true,
        content: { 'multipart/form-data': { schema: components.schemaOf(form, 'input') } },
      },
    }),
    responses: { ...responses(served.description, components), default: refusal(served.description, components) },
  }
}

const TEXT = { type: 'string' }
const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'What is asked with one is done once; its first result is answered again for a day.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
}

const LAST_EVENT_ID = {
  name: 'Last-Event-ID',
  in: 'header',
  description:
    'Goes on with a stream behind this event, of those that count from 0: one in the background, or one that was asked with the same Idempotency-Key and body.',
  schema: { type: 'string', pattern: '^\\d{0,9}$' },
}

function responses({ answer, statuses = [200], also = {} }: Description, components: Components): Json {
  const json = answer && { 'application/json': { schema: components.schemaOf(answer, 'output') } }
  const others = Object.entries(also).map(([type, event]) => [
    type,
    { schema: event ? components.schemaOf(event, 'output') : TEXT },
  ])
  const content = { ...json, ...Object.fromEntries(others) }
  return Object.fromEntries(statuses.map((status) => [status, { description: DESCRIPTIONS[status], content }]))
}

function refusal({ error }: Description, components: Components): Json {
  if (!error) return { $ref: '#/components/responses/Error' }
  return {
    description: 'A refusal.',
    content: { 'application/json': { schema: components.schemaOf(error, 'output') } },
  }
}

const DESCRIPTIONS = { 200: 'Done.', 201: 'Made.', 206: 'A range of it.', 503: 'Something is not well.' }

/** The parameters of a query; of a union, those of any member. */
function queryParameters({ anyOf, properties = {}, required = [] }: JsonObject): Json[] {
  if (anyOf) {
    const all = anyOf.flatMap((member) => queryParameters({ ...member, required: [] }))
    return [...new Map(all.map((parameter) => [parameter.name, parameter])).values()]
  }
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: 'query',
    ...(required.includes(name) && { required: true }),
    schema,
  }))
}

interface JsonObject {
  anyOf?: JsonObject[]
  properties?: Record<string, Json>
  required?: string[]
}

/** The shapes of contract/public by name, so that each stands in the document once. */
class Components {
  readonly #registry = z.registry<{ id: string }>()
  readonly #schemas = new Map<string, unknown>()

  constructor() {
    for (const [name, schema] of NAMED)
      this.#registry.add(schema, { id: name.replace(/^./, (first) => first.toUpperCase()) })
  }

  /** The JSON Schema of what comes in or goes out; named shapes in it are references. */
  schemaOf(schema: z.ZodType, io: 'input' | 'output'): JsonObject {
    const wrapped = z.toJSONSchema(z.object({ schema }), { metadata: this.#registry, io, override: describe })
    const text = JSON.stringify(wrapped).replaceAll('"#/$defs/', '"#/components/schemas/')
    const { properties, $defs = {} } = JSON.parse(text) as { properties: { schema: JsonObject }; $defs?: Json }
    for (const [name, shape] of Object.entries($defs)) this.#schemas.set(name, shape)
    return properties.schema
  }

  sorted(): Json {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

/** Adds what a schema says of itself by `meta` or `describe`. */
function describe({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodType; jsonSchema: object }): void {
  Object.assign(jsonSchema, z.globalRegistry.get(zodSchema))
}

const NAMED = [
  accounts,
  anomalies,
  audit,
  balances,
  batches,
  billing,
  checkout,
  creditNotes,
  entries,
  errors,
  files,
  health,
  invoices,
  keys,
  messages,
  models,
  openai,
  operators,
  prices,
  receiptKeys,
  reconciliation,
  responseBodies,
  tax,
  tokens,
  usage,
  webhooks,
  notifications,
  webhookEvents,
].flatMap((nouns) =>
  Object.entries<unknown>(nouns).filter((named): named is [string, z.ZodType] => named[1] instanceof z.ZodType),
)
