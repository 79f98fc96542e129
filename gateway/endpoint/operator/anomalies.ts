// GET /admin/anomalies: what should not have happened and was charged to nobody, each with what was reported. `request_id` asks for one.

import * as shown from '../../../contract/public/anomaly.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { requestId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'

const query = pageQuery({ request_id: requestId.optional() })

export const listAnomalies = endpoint(
  {
    says: 'Lists what should not have happened and was charged to nobody.',
    query,
    answer: pages.pageOf(shown.anomaly),
  },
  async (c, _: Operator) => {
    const wanted = readQuery(c, query)
    const anomalies = await rowsOf(c.env, 'list_anomalies', wanted)
    const data = anomalies.map((anomaly): shown.Anomaly => ({ object: 'anomaly', ...publicRow(anomaly) }))
    return c.json(pageOf(data, wanted.limit, ({ id }) => id))
  },
)
