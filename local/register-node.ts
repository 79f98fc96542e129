// Registers the node of this machine with its ledger, as the owner of the tables: what an operator does by `npm run admin -- nodes create`.

import { askOver, connect } from '../gateway/db/connection.ts'

export interface NodeRegistration {
  id: string
  url: string
  model: string
  key: string // the public half
}

const REGISTER_MS_MAX = 60_000

/** One that is registered by this id is changed. */
export async function registerNode(database_url: string, node: NodeRegistration): Promise<void> {
  const connection = connect(database_url, REGISTER_MS_MAX)
  try {
    const [answer] = await askOver(connection, 'create_node', { ...node, replace: true })
    if (answer?.decision !== 'created') throw new Error(`the node ${node.id} was not registered: ${answer?.decision}`)
  } finally {
    connection.discard()
  }
}
