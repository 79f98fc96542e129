// POST /admin/accounts: opens an account. The request's own id makes a repeated call inside harmless.

import { z } from 'zod'
import { authenticateAdmin } from '../auth/authenticate.ts'
import { askTeller, type Decided } from '../db/ask-teller.ts'
import type { Call } from '../env.ts'
import { readBody } from '../read-body.ts'
import { nanousd } from './money-field.ts'

const body = z.strictObject({ name: z.string().min(1).max(200), overdraft_nanousd: nanousd.default('0') })

export async function createAccount(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  const { name, overdraft_nanousd } = await readBody(c.req.raw, body)
  const item = { name, overdraft_nanousd, created_by: c.var.request_id }
  const [answer] = await askTeller<Decided & { account_id: string }>(c.env, 'create_account', {
    shard_by: 'admin',
    items: [item],
  })
  return c.json({ object: 'account', id: answer!.account_id, name, overdraft_nanousd }, 201)
}
