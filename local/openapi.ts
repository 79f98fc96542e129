// `npm run openapi` writes the document of the API to docs/openapi.json, and the schema of the catalog beside that.

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { catalogFile } from '../contract/public/catalog.ts'
import { routes } from '../gateway/app.ts'
import { openApiDocument } from '../gateway/openapi.ts'

export const DOCUMENT = fileURLToPath(new URL('../docs/openapi.json', import.meta.url))

export function documentText(): string {
  return `${JSON.stringify(openApiDocument(routes), null, 2)}\n`
}

export const CATALOG_SCHEMA = fileURLToPath(new URL('../models/catalog.schema.json', import.meta.url))

/** What an editor checks a catalog by; that names are one model's each it cannot say. */
export function catalogSchemaText(): string {
  return `${JSON.stringify(z.toJSONSchema(catalogFile), null, 2)}\n`
}

if (import.meta.main) {
  writeFileSync(DOCUMENT, documentText())
  writeFileSync(CATALOG_SCHEMA, catalogSchemaText())
}
