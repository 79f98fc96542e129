// All that the gateway of a release is asked for, by customers, operators, nodes and Stripe, in drawn order. Every answer has the status
// that was to be expected, and is what that release's own document of its API says; anything else is a failure.

import { randomUUID } from 'node:crypto'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect } from 'vitest'
import { openOf, type PreviousNode } from '../support/previous-release.ts'
import type { Random } from '../support/random.ts'
import type { StripeServer } from '../support/stripe-server.ts'

export interface Visited {
  url: string
  admin_key: string
  node: PreviousNode
  stripe: StripeServer
  random: Random
}

/** The fields of any answer that are looked at here. */
interface Answer {
  id: string
  key: string
  state: string
  cost_nanousd: string
  entries: object[]
  data: Answer[]
}

interface ApiDocument {
  paths: Record<string, Record<string, { responses: Record<string, { content?: object }> }>>
}

const model = 'ziya-coding-mini'
const chat = { model, messages: [{ role: 'user', content: 'def quicksort(' }], max_tokens: 5 }
const completion = { model, prompt: 'def quicksort(', max_tokens: 5 }

export class Visit {
  readonly failures: string[] = []
  count = 0
  readonly #at: Visited
  readonly #document: Document
  #account_id = ''
  #key = ''
  /** Of what was asked last. */
  #request_id = ''

  private constructor(at: Visited, document: Document) {
    this.#at = at
    this.#document = document
  }

  static async begin(at: Visited): Promise<Visit> {
    const document = new Document((await (await fetch(`${at.url}/openapi.json`)).json()) as ApiDocument)
    const visit = new Visit(at, document)
    visit.#account_id = (await visit.#admin('POST /admin/accounts', 201, { name: 'visitor' })).id
    await visit.#admin('POST /admin/top-ups', 201, { ...visit.#money('90000000000'), reference: randomUUID() })
    visit.#key = (
      await visit.#admin('POST /admin/keys', 201, {
        account_id: visit.#account_id,
        name: 'all',
        scopes: ['admin', 'generate', 'usage'],
      })
    ).key
    return visit
  }

  /** Goes on until so much was asked. */
  async go(requests: number): Promise<void> {
    const steps = [
      () => this.#generate(),
      () => this.#streams(),
      () => this.#repeats(),
      () => this.#loses(),
      () => this.#reads(),
      () => this.#keys(),
      () => this.#operates(),
      () => this.#buys(),
    ]
    for (const step of steps) await step()
    while (this.count < requests) await this.#at.random.pick(steps)()
  }

  /** Its request's id, once it is settled. */
  async #generate(): Promise<string> {
    if (this.#at.random.below(2)) await this.#ask('POST /v1/chat/completions', 200, chat)
    else await this.#ask('POST /v1/completions', 200, { ...completion, n: 2 })
    const request_id = this.#request_id
    const posted = await this.#settled(request_id, 'posted')
    if (posted.cost_nanousd === '0') this.failures.push(`${request_id} was free`)
    return request_id
  }

  async #settled(request_id: string, state: string): Promise<Answer> {
    const read = () => this.#ask(`GET /v1/usage/${request_id}`, 200)
    await expect.poll(async () => (await read()).state, { timeout: 30_000 }).toBe(state)
    return read()
  }

  async #streams(): Promise<void> {
    const text = await this.#text('POST /v1/chat/completions', 200, {
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    })
    if (!text.endsWith('data: [DONE]\n\n')) this.failures.push(`a stream ends with ${text.slice(-60)}`)
  }

  async #repeats(): Promise<void> {
    const once = { 'idempotency-key': randomUUID() }
    const answers = [
      await this.#text('POST /v1/completions', 200, completion, once),
      await this.#text('POST /v1/completions', 200, completion, once),
    ]
    if (answers[0] !== answers[1]) this.failures.push('a repeated request got another answer')
    const key = { 'idempotency-key': randomUUID() }
    const made = [
      await this.#text('POST /v1/keys', 201, { name: 'once' }, key),
      await this.#text('POST /v1/keys', 201, { name: 'once' }, key),
    ]
    if (made[0] !== made[1]) this.failures.push('a repeated key is another one')
  }

  /** What it holds is given back, where no node took the request or its answer was lost. */
  async #loses(): Promise<void> {
    const { options } = this.#at.node
    options.refuse = 'overloaded'
    await this.#ask('POST /v1/completions', 503, completion)
    this.#at.node.calm()
    const { entries, ...usage } = await this.#ask('GET /v1/usage?limit=1', 200).then(({ data }) => data[0]!)
    if (usage.state !== 'voided' || entries.length > 0) this.failures.push(`refused by its node, and ${usage.state}`)
  }

  async #reads(): Promise<void> {
    for (const path of [
      'models',
      `models/${model}`,
      'usage?limit=3',
      'balance',
      'account',
      'billing',
      'entries?limit=3',
      'invoices',
      'keys',
    ])
      await this.#ask(`GET /v1/${path}`, 200)
    for (const path of ['healthz', '.well-known/receipt-keys.json', 'openapi.json'])
      await this.#ask(`GET /${path}`, 200)
    await this.#ask('GET /v1/invoices/inv_9_9', 404)
  }

  async #keys(): Promise<void> {
    const made = await this.#ask('POST /v1/keys', 201, { name: 'made', scopes: ['generate'], requests_per_minute: 60 })
    await this.#ask(`GET /v1/keys/${made.id}`, 200)
    await this.#ask(`PATCH /v1/keys/${made.id}`, 200, { name: 'renamed', tags: ['team'] })
    const rotated = await this.#ask(`POST /v1/keys/${made.id}/rotate`, 201, { overlap_s: 60 })
    await this.#ask('POST /v1/completions', 200, completion, { authorization: `Bearer ${rotated.key}` })
    await this.#ask(`DELETE /v1/keys/${rotated.id}`, 200)
    await this.#ask('POST /v1/completions', 401, completion, { authorization: `Bearer ${rotated.key}` })
    const leaked = await this.#ask('POST /v1/keys', 201, { name: 'leaked' })
    await this.#ask('POST /v1/keys/leak', 200, undefined, { authorization: `Bearer ${leaked.key}` })
  }

  async #operates(): Promise<void> {
    const request_id = await this.#generate()
    const money = this.#money('7')
    const expires_at = new Date(Date.now() + 3_600_000).toISOString()
    await this.#admin('POST /admin/grants', 201, { ...money, expires_at, reference: randomUUID() })
    await this.#admin('POST /admin/refunds', 201, { ...money, request_id, reference: randomUUID() })
    await this.#admin('POST /admin/adjustments', 201, { ...money, direction: 'debit', reference: randomUUID() })
    await this.#admin('POST /admin/prices', 201, {
      model: 'priced',
      input_nanousd_per_token: '20',
      output_nanousd_per_token: '60',
    })
    const id = this.#account_id
    await this.#admin(`PATCH /admin/accounts/${id}`, 200, { name: 'visitor again', overdraft_nanousd: '1000' })
    await this.#admin(`PATCH /admin/accounts/${id}/billing`, 200, {
      billing_mode: this.#at.random.pick(['prepaid', 'postpaid']),
    })
    const reads = [
      `accounts/${id}`,
      'accounts',
      `accounts/${id}/billing`,
      `invoices?account_id=${id}`,
      `keys?account_id=${id}`,
      `entries?account_id=${id}`,
      'prices',
      `usage?account_id=${id}`,
      `usage/${request_id}`,
      'reconcile',
      'anomalies',
    ]
    for (const path of reads) await this.#admin(`GET /admin/${path}`, 200)
    await this.#ask('GET /healthz/ledger', 200) // after a pass
    await this.#text('GET /metrics', 200, undefined, this.#operator)
  }

  async #buys(): Promise<void> {
    const { stripe } = this.#at
    const buy = {
      amount_nanousd: '10000000000',
      success_url: 'https://shop.test/ok',
      cancel_url: 'https://shop.test/no',
    }
    const payment = stripe.pay((await this.#ask('POST /v1/top-ups/checkout', 201, buy)).id)
    stripe.refund(payment, 100)
    for (const event of stripe.outbox.splice(0)) {
      const { body, headers } = stripe.signed(event)
      await this.#ask('POST /stripe/webhook', 200, body, headers as Record<string, string>)
    }
  }

  #money(amount_nanousd: string) {
    return { account_id: this.#account_id, amount_nanousd }
  }

  get #operator() {
    return { authorization: `Bearer ${this.#at.admin_key}` }
  }

  #admin(call: string, status: number, body?: object): Promise<Answer> {
    return this.#ask(call, status, body, this.#operator)
  }

  async #ask(call: string, status: number, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return JSON.parse(await this.#text(call, status, body, headers))
  }

  async #text(call: string, status: number, body?: unknown, headers: Record<string, string> = {}): Promise<string> {
    const [method, path] = call.split(' ') as [string, string]
    this.count += 1
    const answer = await fetch(this.#at.url + path, {
      method,
      headers: { authorization: `Bearer ${this.#key}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await answer.text()
    this.#request_id = answer.headers.get('x-request-id') ?? ''
    const wrong =
      answer.status === status ? this.#document.faultOf(method, path, answer, text) : `answered ${answer.status}`
    if (wrong) this.failures.push(`${call} ${wrong}: ${text.slice(0, 500)}`)
    return text
  }
}

/** What the release says of its API; an answer may have more than that. */
class Document {
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false })
  readonly #paths: string[]
  readonly #json: ApiDocument

  constructor(json: ApiDocument) {
    this.#json = json
    this.#ajv.addSchema(openOf(json), 'api')
    this.#paths = Object.keys(json.paths).sort((a, b) => Number(a.includes('{')) - Number(b.includes('{')))
  }

  /** Why an answer is not of the document, or null. */
  faultOf(method: string, target: string, answer: Response, text: string): string | null {
    if (!answer.headers.get('content-type')?.startsWith('application/json')) return null
    const { pathname } = new URL(target, 'http://gateway')
    const path = this.#paths.find((one) =>
      new RegExp(`^${one.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`).test(pathname),
    )
    const operation = path && this.#json.paths[path]![method.toLowerCase()]
    if (!operation) return null
    const own = `/paths/${path.replaceAll('/', '~1')}/${method.toLowerCase()}/responses/${answer.status}/content/application~1json/schema`
    const pointer = operation.responses[answer.status]?.content
      ? own
      : '/components/responses/Error/content/application~1json/schema'
    const $ref = `api#${pointer.replaceAll('{', '%7B').replaceAll('}', '%7D')}`
    const validate = this.#ajv.getSchema($ref) ?? this.#ajv.compile({ $id: $ref.replace('#', '/'), $ref })
    return validate(JSON.parse(text)) ? null : `is not as documented: ${this.#ajv.errorsText(validate.errors)}`
  }
}
