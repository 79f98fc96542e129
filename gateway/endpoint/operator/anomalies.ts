// GET /admin/anomalies: what should not have happened and was charged to nobody, each with what was reported. `request_id` asks for one.

import * as z from 'zod'
import { authenticateAdmin } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { pageOf, pageQuery } from '../../field/page.ts'

interface Anomaly {
  id: string
  kind: string
}

export async function listAnomalies(c: Call): Promise<Response> {
  await authenticateAdmin(c.req.raw, c.env.ADMIN_KEY)
  const query = pageQuery(c.req.query(), { request_id: z.guid().optional() })
  const { anomalies } = await ask<{ anomalies: Anomaly[] }>(c.env, 'list_anomalies', { ...query, operator: true })
  return c.json(
    pageOf(
      anomalies.map((anomaly) => ({ object: 'anomaly', ...anomaly })),
      query.limit,
    ),
  )
}
