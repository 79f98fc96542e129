// A Llama in float64, as plainly as it can be written, from the tensors of a folder by Hugging Face's names: what the engine's
// log-probabilities are held against. It shares nothing with the engine but the weights, rounded to fp16 as those are, as are the keys and
// values that a cache keeps.

import { readFileSync } from 'node:fs'
import type { FileTensor, ModelShape } from '../../gpu-node/run/native/engine.ts'

type Vector = Float64Array
type Matrix = Vector[] // its rows, an output each

/** The log-probabilities of every token of the vocabulary behind each of these tokens: (tokens, vocab_size). */
export function referenceLogprobs(
  { shape, tensors }: { shape: ModelShape; tensors: FileTensor[] },
  ids: number[],
): Vector[] {
  const weights = new Weights(tensors)
  const embedding = weights.matrix('model.embed_tokens.weight')
  let stream = ids.map((id) => embedding[id]!)
  for (let layer = 0; layer < shape.layers; layer++)
    stream = runLayer(stream, weights.of(`model.layers.${layer}.`), shape)
  const head = shape.tied_embeddings ? embedding : weights.matrix('lm_head.weight')
  const norm = weights.vector('model.norm.weight')
  return stream.map((x) => logSoftmax(times(head, normed(x, norm, shape))))
}

class Weights {
  readonly #tensors: FileTensor[]
  readonly #prefix: string

  constructor(tensors: FileTensor[], prefix = '') {
    this.#tensors = tensors
    this.#prefix = prefix
  }

  of(prefix: string): Weights {
    return new Weights(this.#tensors, prefix)
  }

  vector(name: string): Vector {
    const { path, offset, bytes, dtype } = this.#tensors.find((tensor) => tensor.name === this.#prefix + name)!
    const data = readFileSync(path).subarray(offset, offset + bytes)
    if (dtype !== 'F32') throw new Error(`the reference reads no ${dtype}`)
    return Float64Array.from({ length: bytes / 4 }, (_, i) => data.readFloatLE(4 * i))
  }

  matrix(name: string): Matrix {
    const values = this.vector(name).map(Math.f16round)
    const { shape } = this.#tensors.find((tensor) => tensor.name === this.#prefix + name)!
    const columns = shape[1]!
    return Array.from({ length: shape[0]! }, (_, row) => values.subarray(row * columns, (row + 1) * columns))
  }
}

function runLayer(stream: Vector[], weights: Weights, shape: ModelShape): Vector[] {
  const norm = weights.vector('input_layernorm.weight')
  const inputs = stream.map((x) => normed(x, norm, shape))
  const attended = attention(inputs, weights, shape)
  const out = weights.matrix('self_attn.o_proj.weight')
  const between = stream.map((x, i) => plus(x, times(out, attended[i]!)))
  const mlp_norm = weights.vector('post_attention_layernorm.weight')
  const [gate, up, down] = ['gate', 'up', 'down'].map((name) => weights.matrix(`mlp.${name}_proj.weight`)) as [
    Matrix,
    Matrix,
    Matrix,
  ]
  return between.map((x) => {
    const input = normed(x, mlp_norm, shape)
    const raised = times(up, input)
    const inner = times(gate, input).map((value, i) => (value / (1 + Math.exp(-value))) * raised[i]!)
    return plus(x, times(down, inner))
  })
}

function attention(inputs: Vector[], weights: Weights, shape: ModelShape): Vector[] {
  const { heads, kv_heads, head_size } = shape
  const project = (name: string) => {
    const matrix = weights.matrix(`self_attn.${name}_proj.weight`)
    return inputs.map((x) => times(matrix, x))
  }
  const headOf = (all: Vector[], position: number, head: number) =>
    all[position]!.subarray(head * head_size, (head + 1) * head_size)
  const [queries, values] = [project('q'), project('v').map(asKept)]
  const keys = project('k').map((_, position, all) =>
    asKept(
      concatenated(
        Array.from({ length: kv_heads }, (_, head) => rotated(headOf(all, position, head), position, shape)),
      ),
    ),
  )
  return inputs.map((_, position) => {
    const out = new Float64Array(heads * head_size)
    for (let head = 0; head < heads; head++) {
      const kv_head = Math.floor(head / (heads / kv_heads))
      const query = rotated(headOf(queries, position, head), position, shape)
      const scores = Float64Array.from({ length: position + 1 }, (_, at) => {
        return dot(query, headOf(keys, at, kv_head)) / Math.sqrt(head_size)
      })
      const shares = logSoftmax(scores).map(Math.exp)
      for (let at = 0; at <= position; at++)
        for (let i = 0; i < head_size; i++) out[head * head_size + i]! += shares[at]! * headOf(values, at, kv_head)[i]!
    }
    return out
  })
}

const asKept = (values: Vector): Vector => values.map(Math.f16round)
const concatenated = (parts: Vector[]): Vector => Float64Array.from(parts.flatMap((part) => [...part]))

/** Its two halves turn by the position's angles. */
function rotated(head: Vector, position: number, { head_size, rope_theta, rope_scaling_factor }: ModelShape): Vector {
  const half = head_size / 2
  return Float64Array.from(head, (value, i) => {
    const angle = position / rope_scaling_factor / rope_theta ** ((2 * (i % half)) / head_size)
    const other = i < half ? -head[i + half]! : head[i - half]!
    return value * Math.cos(angle) + other * Math.sin(angle)
  })
}

function normed(x: Vector, weight: Vector, { rms_norm_eps }: ModelShape): Vector {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + rms_norm_eps)
  return x.map((value, i) => value * scale * weight[i]!)
}

function times(matrix: Matrix, x: Vector): Vector {
  return Float64Array.from(matrix, (row) => dot(row, x))
}

function plus(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]!)
}

function dot(a: Vector, b: Vector): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

function logSoftmax(scores: Vector): Vector {
  const high = scores.reduce((a, b) => Math.max(a, b))
  const log_sum = high + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - high), 0))
  return scores.map((score) => score - log_sum)
}
