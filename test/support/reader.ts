// Reads as the gateway does: by the name of a query, under the login that can select views and nothing else.

import type { QueryItem, QueryName, QueryRow } from '../../gateway/db/queries.ts'
import { connectReader } from '../../gateway/db/reader.ts'
import { readerUrl } from '../../local/gateway-login.ts'
import type { TestPostgres } from './postgres.ts'

export interface Reader {
  read<N extends QueryName>(name: N, item: QueryItem<N>): Promise<QueryRow<N>[]>
  stop(): void
}

export async function startReader(db: TestPostgres): Promise<Reader> {
  const connection = connectReader(await readerUrl(db.sql, db.url), 20_000)
  return {
    read: async <N extends QueryName>(name: N, item: QueryItem<N>) => {
      const [rows] = await connection.call(name, [item])
      return rows as QueryRow<N>[]
    },
    stop: connection.discard,
  }
}
