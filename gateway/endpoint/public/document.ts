// GET /openapi.json: the document of the API, for anybody.

import * as z from 'zod'
import { endpoint } from '../../endpoint.ts'
import { openApiDocument } from '../../openapi.ts'
import type { Route } from '../../route.ts'

/** Made when it is first asked for: the table it describes has this endpoint in it. */
export function documentOf(routes: () => Route[]) {
  let document: object | null = null
  return endpoint(
    { says: 'Describes the API, as an OpenAPI document.', answer: z.record(z.string(), z.unknown()) },
    async (c) => {
      document ??= openApiDocument(routes())
      return c.json(document, 200, { 'cache-control': 'public, max-age=3600' })
    },
  )
}
