// Ways to break what the scheduler's random operations hold: one line of the source replaced by another. Each must be caught.

export interface Mutation {
  what: string
  file: string // of gpu-node/run/native/
  line: string // part of one line, which is there once
  becomes: string
}

export const mutations: Mutation[] = [
  {
    what: 'a returned block is forgotten',
    file: 'block-pool.ts',
    line: 'this.#free.push(block)',
    becomes: 'if (block !== 3) this.#free.push(block)',
  },
  {
    what: 'a sequence that ends gives back the blocks it shares, too',
    file: 'kv-memory.ts',
    line: 'this.#pool.giveBack(sequence.blocks.slice(sequence.path.length))',
    becomes: 'this.#pool.giveBack(sequence.blocks)',
  },
  {
    what: 'a block computed twice is kept twice',
    file: 'kv-memory.ts',
    line: 'if (cached.block !== own.block) this.#pool.giveBack([own.block])',
    becomes: '',
  },
  {
    what: 'a block in use counts as unused',
    file: 'prefix-cache.ts',
    line: 'if (--cached.users === 0) this.#append(cached)',
    becomes: 'if (--cached.users <= 1) this.#append(cached)',
  },
  {
    what: 'what one gives up is evicted though another uses it',
    file: 'prefix-cache.ts',
    line: 'for (const cached of path) if (cached.users++ === 0) this.#unlink(cached)',
    becomes: 'for (const cached of path) if (cached.users === 0) { cached.users++; this.#unlink(cached) }',
  },
  {
    what: 'a sequence keeps the block that it gave up for the one in the cache',
    file: 'kv-memory.ts',
    line: 'blocks[i] = cached.block',
    becomes: '',
  },
  {
    what: 'a preempted sequence believes its blocks',
    file: 'kv-memory.ts',
    line: 'sequence.blocks = []',
    becomes: '',
  },
  {
    what: 'a draft that was wrong counts as computed',
    file: 'scheduler.ts',
    line: 'if (token !== draft[i]) return false',
    becomes: 'if (i === draft.length) return false; if (token !== draft[i]) return (sequence.computed++, false)',
  },
  {
    what: 'a step ahead takes the token of another row',
    file: 'sequence.ts',
    line: 'this.awaited_row = row',
    becomes: 'this.awaited_row = Math.max(row - 1, 0)',
  },
  {
    what: 'a block is cached before the step that fills it has ended',
    file: 'kv-memory.ts',
    line: 'i < Math.floor(sequence.computed / BLOCK_TOKENS)',
    becomes: 'i < Math.floor(sequence.scheduled / BLOCK_TOKENS)',
  },
  {
    what: 'a sequence gives way while a step computes for it',
    file: 'scheduler.ts',
    line: 'if (plan.is_ahead) return false',
    becomes: '',
  },
  {
    what: 'a step ahead computes the same token as the one under way',
    file: 'batch.ts',
    line: 'batch.starts[i] = scheduled',
    becomes: 'batch.starts[i] = sequence.computed',
  },
  {
    what: 'a token behind the last is drawn',
    file: 'sequence.ts',
    line: 'this.output_tokens + this.awaited < this.output_tokens_max',
    becomes: 'this.output_tokens < this.output_tokens_max',
  },
  {
    what: 'a prompt that is scored begins with cached blocks, whose tokens have no scores then',
    file: 'sequence.ts',
    line: 'this.scored < this.prompt_tokens ? this.scored : this.target',
    becomes: 'this.target',
  },
  {
    what: 'what was scored before it gave way is scored again',
    file: 'sequence.ts',
    line: 'Math.max(this.scheduled, this.scored - 1)',
    becomes: 'this.scheduled',
  },
  {
    what: 'a token is scored by itself',
    file: 'batch.ts',
    line: 'token: tokens_before + at - scheduled',
    becomes: 'token: tokens_before + at + 1 - scheduled',
  },
  {
    what: 'a draw behind a scored prompt is of the row before it',
    file: 'scheduler.ts',
    line: 'this.#append(part, result, first_row + scores, outputs)',
    becomes: 'this.#append(part, result, first_row, outputs)',
  },
  {
    what: 'a sequence of a prompt alone ends before that is computed',
    file: 'scheduler.ts',
    line: 'sequence.has_no_output && sequence.computed === sequence.prompt_tokens',
    becomes: 'sequence.has_no_output',
  },
  {
    what: 'drafts have no blocks of their own',
    file: 'scheduler.ts',
    line: 'this.#memory.grow(sequence, sequence.target + part.draft.length)',
    becomes: '',
  },
]
