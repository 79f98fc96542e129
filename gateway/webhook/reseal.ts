// Secrets of webhooks live longer than the DATA_SECRET that they are sealed with: while the one before is known, they are sealed anew.

import { ask } from '../db/ask.ts'
import type { Answer } from '../db/functions.ts'
import type { Env } from '../env.ts'
import { opened, sealed, sealingName } from './secret.ts'

const SECRETS_MAX = 100

export async function resealSecrets(env: Env): Promise<void> {
  if (!env.DATA_SECRET_BEFORE) return
  const sealed_by = await sealingName(env)
  for (let after: string | undefined = '0'; after !== undefined; ) {
    const { secrets }: Answer<'list_sealed_secrets'> = await ask(env, 'list_sealed_secrets', {
      sealed_by,
      after,
      count_max: SECRETS_MAX,
    })
    for (const secret of secrets) await reseal(env, secret)
    after = secrets.at(-1)?.endpoint_id
  }
}

type Sealed = Answer<'list_sealed_secrets'>['secrets'][number]

async function reseal(env: Env, { endpoint_id, sealed: before, old_sealed }: Sealed): Promise<void> {
  const secret = await opened(env, before)
  if (secret === null) return // nobody can open it: its owner rotates it
  const old = old_sealed === null ? null : await opened(env, old_sealed)
  const anew = { ...(await sealed(env, secret)), old_sealed: old === null ? null : (await sealed(env, old)).sealed }
  await ask(env, 'reseal_secret', { endpoint_id, before, ...anew })
}
