// Registers the node of this machine with its ledger, and what it serves beside its model, as the owner of the tables: what an operator does
// by `npm run admin -- nodes create` and `adapters create`.

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
  await registered(database_url, `the node ${node.id}`, (connection) =>
    askOver(connection, 'create_node', { ...node, replace: true }),
  )
}

/** One that is known keeps its owner; a new one is everybody's. */
export async function registerAdapter(database_url: string, { id, base }: { id: string; base: string }): Promise<void> {
  await registered(database_url, `the adapter ${id}`, async (connection) => {
    const [known] = await askOver(connection, 'read_adapters', {})
    const owned = known?.decision === 'read' ? known.adapters.find((adapter) => adapter.id === id) : undefined
    return askOver(connection, 'create_adapter', { id, base, account_id: owned?.account_id ?? null })
  })
}

async function registered(
  database_url: string,
  what: string,
  register: (connection: ReturnType<typeof connect>) => Promise<({ decision: string } | undefined)[]>,
): Promise<void> {
  const connection = connect(database_url, REGISTER_MS_MAX)
  try {
    const [answer] = await register(connection)
    if (answer?.decision !== 'created') throw new Error(`${what} was not registered: ${answer?.decision}`)
  } finally {
    connection.discard()
  }
}
