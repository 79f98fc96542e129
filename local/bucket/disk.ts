// The bucket of files as a folder of this machine: workerd's own service for a folder writes an object whole or not at all, and deletes it.
// Runs in workerd, bound in the form of R2's binding.

import type { Bucket } from '../../gateway/env.ts'

interface Bindings {
  folder: { fetch: typeof fetch }
}

export default function disk({ folder }: Bindings): Bucket {
  const ask = (method: string, key: string, body: Uint8Array<ArrayBuffer> | null = null) =>
    folder.fetch(`http://folder/${key}`, { method, body })
  return {
    put: async (key, bytes) => done(await ask('PUT', key, bytes as Uint8Array<ArrayBuffer>), 'put'),
    get: async (key) => {
      const answer = await ask('GET', key)
      return answer.status === 404 ? null : done(answer, 'get')
    },
    delete: async (keys) => {
      for (const key of keys) {
        const answer = await ask('DELETE', key)
        if (answer.status !== 404) done(answer, 'delete')
      }
    },
  }
}

function done(answer: Response, what: string): Response {
  if (!answer.ok) throw new Error(`the folder of files did not ${what}: ${answer.status}`)
  return answer
}
