// What the CPU bench measured, as a table of medians (lowest..highest) and as a picture.

export interface Sample {
  size: string
  round: number
  what: 'read' | 'decode' | 'prefill' | 'batch'
  engine: string
  threads: number
  value: number // tokens a second; GB/s for 'read'
}

export interface Results {
  date: string
  cpu: string
  threads: number
  node_llama_cpp: string
  agreement: Record<string, { tokens: number; same: number; logprob_difference_max: number }>
  samples: Sample[]
}

const WORK = {
  decode: 'decode, 1 sequence',
  prefill: 'prefill of 512 tokens',
  batch: 'decode, 8 sequences',
} as const
const GB_PER_TOKEN: Record<string, number> = { '120m': 0.2002, '1.1b': 2.069 } // fp16 weights, without the embedding

interface Row {
  size: string
  work: string
  ours: Sample[]
  theirs: Sample[] // at the thread count that was best for it
  ratio: number
}

export function report(results: Results): string {
  const lines = [
    `${results.cpu}; ${results.threads} threads; node-llama-cpp ${results.node_llama_cpp}, F16; ${results.date}`,
    '',
    '| model | work | ours, tok/s | llama.cpp, tok/s | its threads | ratio | rounds |',
    '|---|---|---:|---:|---:|---:|---:|',
    ...rowsOf(results).map(({ size, work, ours, theirs, ratio }) => {
      const cells = [size, work, spread(ours), spread(theirs), theirs[0]!.threads, `${ratio.toFixed(2)} ×`, ours.length]
      return `| ${cells.join(' | ')} |`
    }),
    '',
    ...sizesOf(results).map((size) => `${size}: ${bandwidth(results, size)} ${agreement(results, size)}`),
  ]
  return lines.join('\n')
}

function rowsOf(results: Results): Row[] {
  return sizesOf(results).flatMap((size) =>
    (['decode', 'prefill', 'batch'] as const).map((what) => {
      const samples = results.samples.filter((sample) => sample.size === size && sample.what === what)
      const ours = samples.filter(({ engine }) => engine === 'ziya')
      const theirs = samples.filter(({ engine }) => engine !== 'ziya')
      const by_threads = Object.values(Object.groupBy(theirs, ({ threads }) => threads)) as Sample[][]
      const best = by_threads.toSorted((a, b) => median(b) - median(a))[0]!
      return { size, work: WORK[what], ours, theirs: best, ratio: median(ours) / median(best) }
    }),
  )
}

function bandwidth({ samples }: Results, size: string): string {
  const of = (what: Sample['what']) =>
    samples.filter((sample) => sample.size === size && sample.what === what && sample.engine === 'ziya')
  const decode = median(of('decode')) * GB_PER_TOKEN[size]!
  const share = (100 * decode) / median(of('read'))
  return `our decode reads ${decode.toFixed(1)} GB/s of weights, ${share.toFixed(0)} % of a plain read beside it (${spread(of('read'))} GB/s).`
}

function agreement(results: Results, size: string): string {
  const { same, tokens, logprob_difference_max } = results.agreement[size]!
  return `The two agree on ${same} of ${tokens} greedy tokens, log-probabilities within ${logprob_difference_max.toFixed(4)}.`
}

function sizesOf({ samples }: Results): string[] {
  return [...new Set(samples.map(({ size }) => size))]
}

export function median(samples: readonly Sample[]): number {
  const values = samples.map(({ value }) => value).sort((a, b) => a - b)
  const middle = values.length >> 1
  return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2
}

function spread(samples: readonly Sample[]): string {
  const values = samples.map(({ value }) => value)
  return `${digits(median(samples))} (${digits(Math.min(...values))}..${digits(Math.max(...values))})`
}

function digits(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0)
}

/** A pair of bars for each row, each pair at the scale of its faster one. */
export function svg(results: Results): string {
  const [label, full, height] = [300, 420, 58]
  const rows = rowsOf(results)
  const bars = rows.map(({ size, work, ours, theirs, ratio }, i) => {
    const top = 40 + i * height
    const longest = Math.max(median(ours), median(theirs))
    const bar = (samples: Sample[], y: number, color: string, name: string) => {
      const width = (full * median(samples)) / longest
      return (
        `<rect x="${label}" y="${y}" width="${width.toFixed(1)}" height="18" fill="${color}"/>` +
        `<text x="${(label + width + 6).toFixed(1)}" y="${y + 14}">${name} ${digits(median(samples))}</text>`
      )
    }
    return (
      `<text x="10" y="${top + 24}">${size} · ${work} · ${ratio.toFixed(2)} ×</text>` +
      bar(ours, top, '#2f6f9f', 'ours') +
      bar(theirs, top + 20, '#c9c9c9', 'llama.cpp')
    )
  })
  const title = `Tokens a second, F16, ${results.cpu}, ${results.date}`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="860" height="${50 + rows.length * height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#fff"/><text x="10" y="24" font-weight="bold">${title}</text>`,
    ...bars,
    '</svg>\n',
  ].join('\n')
}
