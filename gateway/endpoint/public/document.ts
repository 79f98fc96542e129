// GET /openapi.json: the document of the API, for anybody, and GET /docs: the same as a page, by Scalar. It is made of the schemas when they change (`npm run openapi`), and lies among
// the static assets: what makes it is no part of the worker.

import * as z from 'zod'
import { asset } from '../../asset.ts'
import { endpoint } from '../../endpoint.ts'

export const document = endpoint(
  { says: 'Describes the API, as an OpenAPI document.', answer: z.record(z.string(), z.unknown()) },
  (c) => asset(c, '/openapi.json', 'application/json'),
)

// The page can reach this gateway and nothing else, whatever it is made of.
const PAGE = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}

export const reference = endpoint(
  { says: 'Shows the API as a page, to read and to try.', answer: null, also: { 'text/html': null } },
  (c) => asset(c, '/docs/reference.html', 'text/html; charset=utf-8', PAGE),
)

const scriptAt = (path: string) =>
  endpoint({ says: 'A script of that page.', answer: null, also: { 'text/javascript': null } }, (c) =>
    asset(c, path, 'text/javascript; charset=utf-8'),
  )

export const referenceScript = scriptAt('/docs/reference.js')
export const scalarScript = scriptAt('/docs/scalar.js')
