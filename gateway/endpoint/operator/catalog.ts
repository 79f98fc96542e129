// GET and POST /admin/catalog: the catalog of models, which is published whole. Every gateway has the new one within seconds.

import * as shown from '../../../contract/public/catalog.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../db/ask.ts'
import { endpoint } from '../../endpoint.ts'
import { ApiError } from '../../error.ts'
import { bodyOf, readBody } from '../../field/read-body.ts'

export const retrieveCatalog = endpoint(
  { says: 'Shows the catalog of models that is in force.', answer: shown.catalog },
  async (c, _: Operator) => {
    const { decision, ...catalog } = await ask(c.env, 'read_catalog', { known: null })
    if (decision !== 'published') throw new ApiError('not_found')
    return c.json({ object: 'catalog', ...catalog })
  },
)

export const publishCatalog = endpoint(
  {
    says: 'Publishes a catalog of models in the place of the one in force, and the prices that it changes.',
    body: shown.catalogFile,
    answer: shown.catalog,
  },
  async (c, operator: Operator) => {
    const { models } = await readBody(c, shown.catalogFile).catch(async (error) => {
      throw ofRow(error, (await bodyOf(c)).json())
    })
    const { decision: _, ...catalog } = await ask(c.env, 'publish_catalog', { ...operator, source: 'operator', models })
    return c.json({ object: 'catalog', ...catalog })
  },
)

/** The refusal with the name of its row, where it is of one. */
function ofRow(error: unknown, given: unknown): unknown {
  if (!(error instanceof ApiError)) return error
  const [, at] = /^models\[(\d+)\]/.exec(error.detail.param ?? '') ?? []
  const id = at === undefined ? undefined : (given as { models: { id?: unknown }[] }).models[Number(at)]?.id
  if (typeof id !== 'string') return error
  const { param = null, message } = error.detail
  return new ApiError(error.code, { param, message: `${id.slice(0, 200).toWellFormed()}: ${message}` })
}
