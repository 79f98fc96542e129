// GET /v1/usage: what an account's requests used and cost, newest first; with ?group_by= the sums of days. GET /v1/usage/{request_id}:
// one of them as a signed receipt.

import * as z from 'zod'
import type { Caller } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { requestId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { publicUsage, receipt, type Usage } from '../usage.ts'
import { groups, reportUsage, span } from '../usage-report.ts'

const listQuery = pageQuery({ after: requestId.optional() })
const reportQuery = z.strictObject({ ...span, group_by: groups })

export async function listUsage(c: Call, caller: Caller): Promise<Response> {
  if (c.req.query('group_by') !== undefined) return reportUsage(c, { asker: caller, ...readQuery(c, reportQuery) })
  const { limit, after = null } = readQuery(c, listQuery)
  const { usage } = await ask<{ usage: Usage[] }>(c.env, 'list_usage', { ...caller, limit, after })
  return c.json(pageOf(usage.map(publicUsage), limit, ({ request_id }) => request_id))
}

export function retrieveUsage(c: Call, caller: Caller): Promise<Response> {
  return receipt(c, caller)
}
