// GET /v1/usage: what an account's requests used and cost, newest first; with ?group_by= the sums of days. GET /v1/usage/{request_id}:
// one of them as a signed receipt.

import * as z from 'zod'
import * as pages from '../../../contract/public/page.ts'
import * as shown from '../../../contract/public/usage.ts'
import type { Caller } from '../../auth/authenticate.ts'
import { obtain } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { requestId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { publicUsage, receiptOf } from '../usage.ts'
import { groups, reportUsage, span } from '../usage-report.ts'

const listQuery = pageQuery({ after: requestId.optional() })
const reportQuery = z.strictObject({ ...span, group_by: groups })

export const listUsage = endpoint(
  {
    says: 'Lists what requests used and cost, the newest first; with group_by, the sums of days.',
    query: z.union([listQuery, reportQuery]),
    answer: z.union([pages.pageOf(shown.usage), shown.usageReport]),
    also: { 'text/csv': null },
  },
  async (c, caller: Caller) => {
    if (c.req.query('group_by') !== undefined) return reportUsage(c, { asker: caller, ...readQuery(c, reportQuery) })
    const { limit, after = null } = readQuery(c, listQuery)
    const { usage } = await obtain(c.env, 'list_usage', { ...caller, limit, after }, 'allowed')
    return c.json(pageOf(usage.map(publicUsage), limit, ({ request_id }) => request_id))
  },
)

export const retrieveUsage = endpoint(
  { says: 'Shows what a request used and cost, as a signed receipt.', answer: shown.receipt },
  (c, caller: Caller) => receiptOf(c, caller),
)
