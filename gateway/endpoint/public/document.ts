// GET /openapi.json: the document of the API, for anybody. It is made of the schemas when they change (`npm run openapi`), and lies among
// the static assets: what makes it is no part of the worker.

import * as z from 'zod'
import { asset } from '../../asset.ts'
import { endpoint } from '../../endpoint.ts'

export const document = endpoint(
  { says: 'Describes the API, as an OpenAPI document.', answer: z.record(z.string(), z.unknown()) },
  (c) => asset(c, '/openapi.json', 'application/json'),
)
