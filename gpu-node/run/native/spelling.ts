// A token and its alternatives as they are spelled where they stand.

import type { Spelled } from '../text/logprobs.ts'
import type { TokenLogprobs } from './sampling.ts'
import type { Detokenizer } from './tokenizer/detokenizer.ts'

/** To be asked before the detokenizer takes the token. */
export function spelling(
  detokenizer: Pick<Detokenizer, 'surface'>,
  token: number,
  { logprob, top }: Omit<TokenLogprobs, 'logprob'> & { logprob: number | null },
): Spelled {
  return {
    ...detokenizer.surface(token),
    logprob,
    top: top.map((other) => ({ ...detokenizer.surface(other.id), logprob: other.logprob })),
  }
}
