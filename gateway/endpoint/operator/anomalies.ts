// GET /admin/anomalies: what should not have happened and was charged to nobody, each with what was reported. `request_id` asks for one.

import type { Anomaly } from '../../../contract/public/anomaly.ts'
import { query } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { requestId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'

const filter = pageQuery({ request_id: requestId.optional() })

export async function listAnomalies(c: Call): Promise<Response> {
  const page = readQuery(c, filter)
  const anomalies = await query(c.env, 'list_anomalies', page)
  const shown = anomalies.map((anomaly): Anomaly => ({ object: 'anomaly', ...publicRow(anomaly) }))
  return c.json(pageOf(shown, page.limit, ({ id }) => id))
}
