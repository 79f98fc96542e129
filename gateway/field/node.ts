// What names a node and its key, as operators and nodes write it.

import * as z from 'zod'
import { isKeyText } from '../../contract/ed25519.ts'
import { text } from '../../contract/public/text.ts'

/** It stands in paths and in the names of metrics. */
export const nodeId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, 'expected up to 100 letters, digits, dots, hyphens and underscores')

/** Where a node is asked, without a slash at its end: the path is put behind it. */
export const nodeUrl = text
  .max(500)
  .pipe(z.url({ protocol: /^https?$/ }))
  .transform((url) => url.replace(/\/+$/, ''))

export const nodeModel = text.min(1).max(200)

/** As gpu-node/config.ts has it. It stands in paths. */
export const adapterName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$/,
    'expected up to 200 letters, digits, dots, colons, hyphens and underscores',
  )

export const publicKey = z.string().refine(isKeyText, 'expected 32 bytes as base64url')
