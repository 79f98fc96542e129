// Holds what the gateway really answers, and what it takes, against the document of the API.

import { Ajv2020 } from 'ajv/dist/2020.js'
import { routes } from '../../gateway/app.ts'
import { openApiDocument } from '../../gateway/openapi.ts'

interface Operation {
  requestBody?: object
  responses: Record<string, { content?: Record<string, object> }>
}

const document = openApiDocument(routes) as { paths: Record<string, Record<string, Operation>> }
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
ajv.addSchema(document, 'api')

const templates = Object.keys(document.paths).map((path) => ({
  path,
  pattern: new RegExp(`^${path.replaceAll('.', '\\.').replace(/\{\w+\}/g, '[^/]+')}$`),
}))
// A path without a variable is taken before one with: /v1/keys/leak is no id.
templates.sort((a, b) => Number(a.path.includes('{')) - Number(b.path.includes('{')))

/** Answers of paths and methods that the document has, by status; others, and other forms than JSON, are let through. */
export async function expectDocumented(url: string, init: RequestInit, answer: Response): Promise<void> {
  const operation = operationOf(url, init.method ?? 'GET')
  if (!operation || !answer.headers.get('content-type')?.startsWith('application/json')) return
  const { pointer, responses } = operation
  const status = String(answer.status)
  const described = [status, 'default'].find((name) => responses[name]?.content)
  const schema = described
    ? `${pointer}/responses/${described}/content/application~1json/schema`
    : '/components/responses/Error/content/application~1json/schema'
  expectShape(schema, await answer.clone().json(), `${init.method ?? 'GET'} ${url} answered ${status}`)
  if (answer.ok && operation.requestBody && typeof init.body === 'string')
    expectShape(
      `${pointer}/requestBody/content/application~1json/schema`,
      JSON.parse(init.body),
      `${init.method} ${url} took`,
    )
}

/** One event of a stream, as the document has it. */
export function expectDocumentedEvent(path: string, event: unknown): void {
  const { pointer } = operationOf(`http://gateway${path}`, 'POST')!
  expectShape(`${pointer}/responses/200/content/text~1event-stream/schema`, event, `POST ${path} streamed`)
}

function operationOf(url: string, method: string): (Operation & { pointer: string }) | null {
  const { pathname } = new URL(url)
  const path = templates.find(({ pattern }) => pattern.test(pathname))?.path
  const operation = path && document.paths[path]![method.toLowerCase()]
  if (!path || !operation) return null
  return { ...operation, pointer: `/paths/${path.replaceAll('/', '~1')}/${method.toLowerCase()}` }
}

export function expectShape(pointer: string, value: unknown, what: string): void {
  const $ref = `api#${pointer.replaceAll('{', '%7B').replaceAll('}', '%7D')}`
  const validate = ajv.getSchema($ref) ?? ajv.compile({ $id: $ref.replace('#', '/'), $ref })
  if (!validate(value))
    throw new Error(
      `${what} what the document does not have: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`,
    )
}
