// One broken index in each CUDA kernel, and each wait taken out that orders streams, devices and the host. mutations.ts shows
// that the tests in the emulator notice every one.

export interface Mutation {
  kernel: string // native/kernels/cuda/<kernel>.cu, .cpp or .h
  from: string // part of it, which is there once
  to: string
  test: string // that must then fail: a part of its name
}

export const mutations: Mutation[] = [
  {
    kernel: 'embed',
    from: 'table.packed_row(step.tokens[token].id)',
    to: 'table.packed_row(step.tokens[0].id)',
    test: 'emulator: embedding',
  },
  {
    kernel: 'rms_norm',
    from: 'load8(weight + k, weights)',
    to: 'load8(weight + k % 64, weights)',
    test: 'emulator: rms norm',
  },
  {
    kernel: 'rope',
    from: 'place.position % block_tokens',
    to: 'place.position / block_tokens',
    test: 'emulator: queries',
  },
  { kernel: 'pack', from: 'first_row + row', to: 'first_row + row / 2', test: 'emulator: embedding' },
  { kernel: 'matmul', from: 'min(first + r, last)', to: 'min(first, last)', test: 'emulator, simple: a product is' },
  {
    kernel: 'gemm',
    from: 'block > first ? sums[i]',
    to: 'block > first + 1 ? sums[i]',
    test: 'emulator: a product is',
  },
  {
    kernel: 'gemm_stripes',
    from: 'token * tile_rows + (row',
    to: 'token * tile_rows / 2 + (row',
    test: 'emulator: products of a prefill',
  },
  {
    kernel: 'prefill_gemm',
    from: 'tile / tokens * groups + group',
    to: 'tile / tokens * groups',
    test: 'emulator: products of a prefill',
  },
  { kernel: 'prefill_gemm', from: 'block == first, sums', to: 'true, sums', test: 'emulator: products of a prefill' },
  {
    kernel: 'prefill_gemm',
    from: 'sums[begin / 2 + i]',
    to: 'sums[begin / 4 + i]',
    test: 'emulator: products of a prefill',
  },
  { kernel: 'attention', from: '(begin + j) % block_tokens', to: 'j % 8', test: 'emulator, simple: every head' },
  {
    kernel: 'tiled_attention',
    from: 'lane % 16, k * 2 + lane / 16',
    to: 'lane % 16, k * 2 + lane / 8 % 2',
    test: 'emulator: every head',
  },
  { kernel: 'tiled_attention', from: 'lane % 8 + lane / 16 * 8', to: 'lane % 16', test: 'emulator: every head' },
  { kernel: 'tiled_attention', from: 'min(begin + page, last)', to: 'min(begin, last)', test: 'emulator: every head' },
  {
    kernel: 'tiled_attention',
    from: 'int64_t(first_part + split)',
    to: 'int64_t(first_part + split / 2)',
    test: 'emulator: attention over several splits',
  },
  {
    kernel: 'tiled_attention',
    from: 'split > 0 ? value',
    to: 'split > 1 ? value',
    test: 'emulator: attention is the same whole',
  },
  {
    kernel: 'attention_plan',
    from: 'batch.starts[s] + i',
    to: 'batch.starts[s]',
    test: 'emulator: attention over several splits',
  },
  {
    kernel: 'references',
    from: 'drawn[-1 - reference]',
    to: 'drawn[0]',
    test: 'emulator: steps begun before',
  },
  {
    kernel: 'cuda_kernels',
    from: 'steps_finished_++ % ended_.size()',
    to: 'steps_finished_++ % 1',
    test: 'emulator: steps begun before',
  },
  // What one stream waits for of another, or the host of one.
  {
    kernel: 'cuda_kernels',
    from: 'cudaStreamWaitEvent(sender.stream_, received_, 0)',
    to: 'cudaStreamWaitEvent(stream_, received_, 0)',
    test: 'emulator: a device overwrites',
  },
  { kernel: 'cuda_kernels', from: 'received_.record(stream_);', to: '', test: 'emulator: a device overwrites' },
  {
    kernel: 'cuda_kernels',
    from: 'cudaStreamWaitEvent(stream_, sender.computed_, 0)',
    to: 'cudaGetLastError()',
    test: 'emulator: a device overwrites',
  },
  {
    kernel: 'cuda_kernels',
    from: 'sender.computed_.record(sender.stream_);',
    to: '',
    test: 'emulator: a device overwrites',
  },
  {
    kernel: 'cuda_kernels',
    from: 'cudaStreamWaitEvent(stream_, from.computed_, 0)',
    to: 'cudaGetLastError()',
    test: 'emulator: a device overwrites',
  },
  {
    kernel: 'cuda_kernels',
    from: '    from.computed_.record(from.stream_);',
    to: '',
    test: 'emulator: a device overwrites',
  },
  { kernel: 'cuda_kernels', from: 'step.arrived.record(stream_);', to: '', test: 'emulator: steps begun before' },
  { kernel: 'cuda_kernels', from: 'step.arrived.synchronize();', to: '', test: 'emulator: steps begun before' },
  {
    kernel: 'cuda_kernels',
    from: 'if (!are_weights_packed_) ring_.clear();',
    to: '',
    test: 'emulator: rows of weights',
  },
  {
    kernel: 'cuda_kernels',
    from: '"clearing memory");\n  stream_.synchronize();',
    to: '"clearing memory");',
    test: 'emulator: rows of weights',
  },
  {
    kernel: 'cuda_kernels',
    from: '"a copy of weights");\n  stream_.synchronize();',
    to: '"a copy of weights");',
    test: 'emulator: steps begun before',
  },
  {
    kernel: 'cuda_kernels',
    from: '"the angles");\n  stream_.synchronize();',
    to: '"the angles");',
    test: 'emulator: steps begun before',
  },
  {
    kernel: 'upload_ring',
    from: 'slot->stream.synchronize();\n    write',
    to: 'write',
    test: 'emulator: rows of weights',
  },
  { kernel: 'step_descriptor', from: 'staging.copied.synchronize();', to: '', test: 'emulator: a refused step' },
  { kernel: 'step_descriptor', from: 'staging.copied.record(stream);', to: '', test: 'emulator: a refused step' },
  { kernel: 'embed', from: 'wait_for_previous_kernel();', to: '', test: 'emulator: embedding' },
  {
    kernel: 'tiled_attention',
    from: '(Problem problem) {\n  wait_for_previous_kernel();',
    to: '(Problem problem) {',
    test: 'emulator: attention over several splits',
  },
  { kernel: 'sample', from: 'outputs + is_latest', to: 'outputs', test: 'emulator: the latest token' },
  {
    kernel: 'sample',
    from: 'largest(is_known) == 0',
    to: 'largest(is_known) >= 0',
    test: 'emulator: the latest token',
  },
  { kernel: 'sample', from: 'row_.bias.begin', to: 'row_.bias.begin + 2', test: 'emulator: penalties' },
  {
    kernel: 'sample',
    from: 'prefix << bin_bits | uint32_t(bin)',
    to: 'prefix << bin_bits | uint32_t(bin ^ 1)',
    test: 'emulator: draws are',
  },
  { kernel: 'sample', from: '(goal - above - 1) / each', to: '(goal - above) / each', test: 'emulator: draws are' },
]
