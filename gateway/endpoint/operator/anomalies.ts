// GET /admin/anomalies: what should not have happened and was charged to nobody, each with what was reported. `request_id` asks for one.

import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import type { Call } from '../../env.ts'
import { requestId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'

interface Anomaly {
  id: string
  kind: string
}

const query = pageQuery({ request_id: requestId.optional() })

export async function listAnomalies(c: Call, operator: Operator): Promise<Response> {
  const wanted = readQuery(c, query)
  const { anomalies } = await ask<{ anomalies: Anomaly[] }>(c.env, 'list_anomalies', { ...wanted, ...operator })
  const shown = anomalies.map((anomaly) => ({ object: 'anomaly', ...anomaly }))
  return c.json(pageOf(shown, wanted.limit, ({ id }) => id))
}
