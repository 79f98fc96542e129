// Where the files of a gateway on this machine lie: a folder of it, or a bucket at a service that speaks S3. Either is bound to the worker
// as R2 is where it is deployed, so that the worker knows one kind of bucket.

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import * as z from 'zod'
import type { S3 } from './bucket/s3.ts'

export interface FolderBucket {
  folder: string
}

export interface BoundBucket {
  /** The module that makes the bucket of its bindings. */
  script: string
  /** Of workerd's configuration: what the module is given, and the services that it names. */
  bindings: string
  services: string
  close(): void
}

/** Without a bucket that is named: a folder that goes when the gateway stops. */
export async function bindBucket(bucket: S3 | FolderBucket | undefined): Promise<BoundBucket> {
  if (bucket && 'url' in bucket)
    return { script: await scriptOf('s3'), bindings: textBindings({ ...bucket }), services: '', close: () => {} }
  const folder = bucket?.folder ?? mkdtempSync(join(tmpdir(), 'ziya-files-'))
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o700)
  return {
    script: await scriptOf('disk'),
    bindings: '(name = "folder", service = "files")',
    services: `(name = "files", disk = (path = ${JSON.stringify(folder)}, writable = true)),`,
    close: () => {
      if (!bucket) rmSync(folder, { recursive: true, force: true })
    },
  }
}

const scripts = new Map<string, Promise<string>>()

function scriptOf(kind: 'disk' | 's3'): Promise<string> {
  const script = scripts.get(kind) ?? bundled(fileURLToPath(new URL(`bucket/${kind}.ts`, import.meta.url)))
  scripts.set(kind, script)
  return script
}

async function bundled(file: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [file],
    bundle: true,
    format: 'esm',
    write: false,
    target: 'es2024',
  })
  return outputFiles[0]!.text
}

function textBindings(texts: Record<string, string>): string {
  return Object.entries(texts)
    .map(([name, text]) => `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(text)})`)
    .join(', ')
}

const settings = z.object({
  FILES_S3_URL: z.url({ protocol: /^https?$/ }),
  FILES_S3_REGION: z.string().min(1).default('auto'),
  FILES_S3_KEY_ID: z.string().min(1),
  FILES_S3_SECRET: z.string().min(1),
})

/** The bucket that the environment names, or null. One that is named in part is refused by what is missing. */
export function bucketIn(environment: NodeJS.ProcessEnv): S3 | null {
  if (!environment.FILES_S3_URL) return null
  const read = settings.safeParse(environment)
  if (!read.success) throw new Error(`${read.error.issues[0]!.path.join()}: ${read.error.issues[0]!.message}`)
  const { FILES_S3_URL: url, FILES_S3_REGION: region, FILES_S3_KEY_ID: key_id, FILES_S3_SECRET: secret } = read.data
  return { url, region, key_id, secret }
}
