// `npm run openapi` writes the document of the API to docs/openapi.json.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { routes } from '../gateway/app.ts'
import { openApiDocument } from '../gateway/openapi.ts'

export const DOCUMENT = fileURLToPath(new URL('../docs/openapi.json', import.meta.url))

export function documentText(): string {
  return `${JSON.stringify(openApiDocument(routes), null, 2)}\n`
}

if (import.meta.main) writeFileSync(DOCUMENT, documentText())
