// POST /admin/top-ups: credits an account. The reference names the payment outside, so a repeated one credits once.

import * as z from 'zod'
import { topUp } from '../../../contract/public/entry.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { rowId } from '../../field/id.ts'
import { nanousd } from '../../field/money.ts'
import { readBody } from '../../field/read-body.ts'
import { byHand, named, repeated } from './by-hand.ts'

const payment = z.strictObject({
  account_id: rowId,
  amount_nanousd: nanousd,
  ...byHand,
})

export const createTopUp = endpoint(
  { says: 'Credits a payment to an account.', body: payment, answer: topUp, statuses: [201] },
  async (c, operator: Operator) => {
    const item = named(c, operator, await readBody(c, payment))
    const { account_id, amount_nanousd, reference } = item
    const answer = await ask(c.env, 'top_up', item)
    switch (answer.decision) {
      case 'credited':
        return c.json({ object: 'top_up', id: answer.entry_id, account_id, amount_nanousd, reference }, 201)
      case 'repeated':
        throw repeated(answer)
      case 'reference_taken':
        throw new ApiError('invalid_value', {
          param: 'reference',
          message: 'This reference credited something else already.',
        })
      case 'unknown_account':
        throw new ApiError('not_found', { param: 'account_id' })
      case 'uncountable':
        throw new ApiError('uncountable', { param: 'amount_nanousd' })
    }
  },
)
