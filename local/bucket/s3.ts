// The bucket of files at a service that speaks S3. Runs in workerd, bound in the form of R2's binding.

import { AwsClient } from 'aws4fetch'
import type { Bucket } from '../../gateway/env.ts'

export interface S3 {
  /** Of the bucket: https://HOST/BUCKET, or https://BUCKET.HOST. */
  url: string
  region: string
  key_id: string
  secret: string
}

const ANSWER_MS_MAX = 60_000

export default function s3({ url, region, key_id, secret }: S3): Bucket {
  const client = new AwsClient({ accessKeyId: key_id, secretAccessKey: secret, service: 's3', region, retries: 2 })
  const ask = (method: string, key: string, body: Uint8Array<ArrayBuffer> | null = null) =>
    client.fetch(`${url.replace(/\/$/, '')}/${key}`, { method, body, signal: AbortSignal.timeout(ANSWER_MS_MAX) })
  return {
    put: async (key, bytes) => void (await done(await ask('PUT', key, bytes as Uint8Array<ArrayBuffer>)).arrayBuffer()),
    get: async (key) => {
      const answer = await ask('GET', key)
      if (answer.status !== 404) return done(answer)
      await answer.arrayBuffer()
      return null
    },
    delete: async (keys) => {
      for (const key of keys) {
        const answer = await ask('DELETE', key)
        if (answer.status !== 404) done(answer)
        await answer.arrayBuffer()
      }
    },
  }
}

function done(answer: Response): Response {
  if (!answer.ok) throw new Error(`the S3 service answered ${answer.status}`)
  return answer
}
