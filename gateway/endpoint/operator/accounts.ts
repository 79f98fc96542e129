// /admin/accounts: opens, lists, shows and changes accounts. GET /v1/account: an account's own, by its key.

import * as z from 'zod'
import { authenticateAdmin, identify } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { text } from '../../field/generation.ts'
import { limitFields } from '../../field/limits.ts'
import { overdraftNanousd } from '../../field/money.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readBody } from '../../field/read-body.ts'
import { rowId } from '../../field/row-id.ts'

const optional = z
  .strictObject({ name: text.min(1).max(200), overdraft_nanousd: overdraftNanousd, ...limitFields })
  .partial()
const creation = optional.extend({ name: text.min(1).max(200) })

interface Account {
  id: string
}

export async function createAccount(c: Call): Promise<Response> {
  const operator = await theOperator(c)
  const item = { ...(await readBody(c.req.raw, creation as z.ZodType<object>)), created_by: c.var.operation.id }
  const { account } = await ask<{ account: Account }>(c.env, 'create_account', { ...item, ...operator }, 'created')
  return c.json(withObject(account), 201)
}

export async function listAccounts(c: Call): Promise<Response> {
  const operator = await theOperator(c)
  const query = pageQuery(c.req.query(), {})
  const { accounts } = await ask<{ accounts: Account[] }>(c.env, 'list_accounts', { ...query, ...operator })
  return c.json(pageOf(accounts.map(withObject), query.limit))
}

export async function retrieveAccount(c: Call): Promise<Response> {
  const item = { ...(await theOperator(c)), account_id: accountId(c) }
  const { account } = await ask<{ account: Account }>(c.env, 'read_account', item)
  return c.json(withObject(account))
}

export async function updateAccount(c: Call): Promise<Response> {
  const operator = await theOperator(c)
  const item = {
    fields: await readBody(c.req.raw, optional as z.ZodType<object>),
    account_id: accountId(c),
    ...operator,
  }
  const { account } = await ask<{ account: Account }>(c.env, 'update_account', item)
  return c.json(withObject(account))
}

export async function ownAccount(c: Call): Promise<Response> {
  const { account } = await ask<{ account: Account }>(c.env, 'read_account', await identify(c))
  return c.json(withObject(account))
}

async function theOperator(c: Call): Promise<{ operator: true }> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  return { operator: true }
}

function accountId(c: Call): string {
  const id = rowId.safeParse(c.req.param('id'))
  if (!id.success) throw new ApiError('not_found')
  return id.data
}

function withObject(account: Account) {
  return { object: 'account', ...account }
}
