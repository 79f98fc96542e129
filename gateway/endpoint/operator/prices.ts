// GET and POST /admin/prices: the price book. A published price is never changed; a later one follows it.

import * as z from 'zod'
import type { Price } from '../../../contract/public/price.ts'
import { askTeller, type Decided } from '../../db/ask.ts'
import { query } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { text } from '../../field/text.ts'
import { moment } from '../../field/time.ts'

const PRICES_MAX = 1000

const bound = moment.nullable().default(null)
const body = z
  .strictObject({
    model: text.min(1).max(200),
    account_id: rowId.nullable().default(null),
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
const filter = z.strictObject({ model: text.min(1).max(200).optional(), account_id: rowId.optional() })

export async function publishPrice(c: Call): Promise<Response> {
  const item = await readBody(c, body)
  const [answer] = await askTeller<Decided & { price: Omit<Price, 'object'> }>(c.env, 'publish_price', {
    shard_by: 'admin',
    items: [item],
  })
  if (answer!.decision === 'unknown_account') throw new ApiError('not_found', { param: 'account_id' })
  if (answer!.decision === 'begins_in_the_past')
    throw new ApiError('invalid_value', { param: 'valid_from', message: 'A price cannot begin in the past.' })
  if (answer!.decision === 'ends_before_it_begins')
    throw new ApiError('invalid_value', { param: 'valid_until', message: 'A price cannot end before it begins.' })
  if (answer!.decision !== 'published') throw new ApiError('internal_error')
  return c.json({ object: 'price', ...answer!.price }, 201)
}

export async function listPrices(c: Call): Promise<Response> {
  const prices = await query(c.env, 'list_prices', { ...readQuery(c, filter), limit: PRICES_MAX })
  const data = prices.map((price): Price => ({ object: 'price', ...publicRow(price) }))
  return c.json({ object: 'list', data })
}
