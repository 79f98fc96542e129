// GET and POST /admin/prices: the price book. A published price is never changed; a later one follows it.

import * as z from 'zod'
import { listOf } from '../../../contract/public/page.ts'
import * as shown from '../../../contract/public/price.ts'
import { text } from '../../../contract/public/text.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../db/ask.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { moment } from '../../field/time.ts'

const PRICES_MAX = 1000

const bound = moment.nullable().default(null)
const publication = z
  .strictObject({
    model: text.min(1).max(200),
    account_id: rowId.nullable().default(null),
    service_tier: shown.serviceTier.default('default'),
    input_nanousd_per_token: nanousd,
    cached_input_nanousd_per_token: nanousd.nullable().default(null),
    output_nanousd_per_token: nanousd,
    valid_from: bound,
    valid_until: bound,
  })
  .refine((price) => BigInt(price.cached_input_nanousd_per_token ?? 0) <= BigInt(price.input_nanousd_per_token), {
    path: ['cached_input_nanousd_per_token'],
    message: 'expected no more than input_nanousd_per_token',
  })
  .refine((price) => price.valid_until === null || price.account_id !== null, {
    path: ['valid_until'],
    message: 'expected only with account_id: a list price is valid until the next',
  })
  .refine(
    (price) =>
      price.valid_until === null || Date.parse(price.valid_until) >= Date.parse(price.valid_from ?? '1970-01-01'),
    {
      path: ['valid_until'],
      message: 'expected not before valid_from',
    },
  )
const query = z.strictObject({ model: text.min(1).max(200).optional(), account_id: rowId.optional() })

export const publishPrice = endpoint(
  {
    says: 'Publishes a price, for everybody or for one account.',
    body: publication,
    answer: shown.price,
    statuses: [201],
  },
  async (c, operator: Operator) => {
    const answer = await ask(c.env, 'publish_price', { ...(await readBody(c, publication)), ...operator })
    switch (answer.decision) {
      case 'published':
        return c.json(publicPrice(answer.price), 201)
      case 'unknown_account':
        throw new ApiError('not_found', { param: 'account_id' })
      case 'begins_in_the_past':
        throw new ApiError('invalid_value', { param: 'valid_from', message: 'A price cannot begin in the past.' })
      case 'ends_before_it_begins':
        throw new ApiError('invalid_value', { param: 'valid_until', message: 'A price cannot end before it begins.' })
    }
  },
)

export const listPrices = endpoint(
  { says: 'Lists the prices of a model, an account, or all.', query, answer: listOf(shown.price) },
  async (c, _: Operator) => {
    const prices = await rowsOf(c.env, 'list_prices', { ...readQuery(c, query), limit: PRICES_MAX })
    return c.json({ object: 'list', data: prices.map((price) => publicPrice(publicRow(price))) })
  },
)

function publicPrice(price: Omit<shown.Price, 'object'>): shown.Price {
  return { object: 'price', ...price }
}
