// POST /admin/top-ups: credits an account. The reference names the payment outside, so a repeated one credits once.

import * as z from 'zod'
import { askTeller, type Decided } from '../../db/ask.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'
import { text } from '../../field/text.ts'

const body = z.strictObject({
  account_id: rowId,
  amount_nanousd: nanousd,
  reference: text.min(1).max(200),
})

export async function createTopUp(c: Call): Promise<Response> {
  const fields = await readBody(c, body)
  const [answer] = await askTeller<Decided & { entry_id: string }>(c.env, 'top_up', {
    shard_by: 'admin',
    items: [fields],
  })
  if (answer!.decision === 'reference_taken')
    throw new ApiError('invalid_value', {
      param: 'reference',
      message: 'This reference credited something else already.',
    })
  if (answer!.decision === 'unknown_account') throw new ApiError('not_found', { param: 'account_id' })
  if (answer!.decision === 'uncountable') throw new ApiError('uncountable', { param: 'amount_nanousd' })
  if (answer!.decision !== 'credited') throw new ApiError('internal_error')
  return c.json({ object: 'top_up', id: answer!.entry_id, ...fields }, 201)
}
