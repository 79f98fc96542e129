// One broken index in each CUDA kernel, and each wait taken out that orders streams, devices and the host. mutations.ts shows
// that the tests in the emulator notice every one.

export interface Mutation {
  kernel: string // native/kernels/cuda/<kernel>.cu, .cpp or .h
  from: string // part of it, which is there once
  to: string
  test: string // that must then fail: a part of its name
}

type Broken = [kernel: string, from: string, to: string]

const by_test: Record<string, Broken[]> = {
  'emulator: embedding': [
    ['embed', 'table.packed_row(step.tokens[token].id)', 'table.packed_row(step.tokens[0].id)'],
    ['pack', 'to.packed_row(first_row + row), k', 'to.packed_row(first_row + row / 2), k'],
    ['embed', 'wait_for_previous_kernel();', ''],
  ],
  'emulator: rms norm': [['rms_norm', 'load8(weight + k, weights)', 'load8(weight + k % 64, weights)']],
  'emulator: layer norm': [
    ['layer_norm', 'load8(weights.bias + k, bias)', 'load8(weights.bias + k % 64, bias)'],
    ['layer_norm', '(x[i] - mean, x[i] - mean, squares)', '(x[i], x[i], squares)'],
  ],
  'emulator: biases are': [['bias', 'row[i] += bias[i]', 'row[i] += bias[i - k]']],
  'emulator: gate and up have': [
    ['swiglu', 'bias.gate + k', 'bias.gate + k % 64'],
    ['swiglu', 'bias.up + k', 'bias.gate + k'],
  ],
  'emulator: gelu is right, by': [
    ['bias', 'load8(bias + k, biases)', 'load8(bias + k % 64, biases)'],
    ['bias', 'is_exact ? exact_gelu(sum) : tanh_gelu(sum)', 'tanh_gelu(sum)'],
  ],
  'emulator: positions are': [['positions', 'step.tokens[token].position', 'step.tokens[0].position']],
  "emulator: a model's logits": [
    ['place_qkv', 'is_query ? value * query_scale', 'is_query ? value'],
    ['../rope', 'turns > high', 'turns > low'],
    ['../../models/layered_model', 'if (bias != nullptr) kernels.add_bias(*bias, residual);', ''],
    ['../../weights', 'upload(*to.vector, first, count', 'upload(*to.vector, 0, count'],
  ],
  'emulator: queries': [['kv_store', 'place.position % block_tokens', 'place.position / block_tokens']],
  // Whose scale it is, and which number stands where.
  'emulator: fp8 cache: queries': [
    ['kv_store', 'kv.keys.scales)[row]', 'kv.keys.scales)[kv.row(block_id, 0, place.position % block_tokens)]'],
    ['kv_store', 'kv.keys.scales)[row]', 'kv.keys.scales)[row / 2 * 2]'],
    ['kv_store', 'is_value ? kv.values.scales : kv.keys.scales', 'kv.keys.scales'],
    ['kv_store', 'cached_scale(warp_max(largest))', 'cached_scale(largest)'],
    [
      'kv_store',
      '[row] = half_of_bits(scale)',
      '[row] = half_of_bits(max(scale, (is_value ? kv.values.scales : kv.keys.scales)[row].bits))',
    ],
    ['tiled_attention', 'kv.values.scales + first_row + slot', 'kv.keys.scales + first_row + slot'],
    ['tiled_attention', 'kv.keys.scales + first_row + slot', 'kv.keys.scales + slot'],
    ['tiled_attention', 'to_float(scales[8])', 'to_float(scales[0])'],
    ['tiled_attention', 'm * mma_rows + h * 8 + threadIdx.x % 4 * 2', 'm * mma_rows + threadIdx.x % 4 * 2'],
  ],
  'emulator: fp8 cache: attention over several splits': [
    ['tiled_attention', 'from.value_scales[i / units]', 'from.key_scales[i / units]'],
    ['tiled_attention', 'from.key_scales[i / units], to', 'from.key_scales[i % units], to'],
    ['tiled_attention', '2 * unit + h)', '2 * unit + (1 - h))'],
    ['tiled_attention', 'shared.ring.converted);\n        __syncthreads();', 'shared.ring.converted);'],
  ],
  'emulator: fp8 cache: every head': [
    ['layout', 'column % 8 / 2 * 4 + column / 8 % 2 * 2', 'column % 8 / 2 * 2 + column / 8 % 2 * 8'],
    ['layout', 'column % 8 * 2 + column / 8 % 2;', 'column % 16;'],
    ['tiled_attention', 'codes[i % 2] >> i / 2 * 16', 'codes[i / 2] >> i % 2 * 16'],
    ['tiled_attention', 'i % 2 == 0 ? 0x20 : 0x31))), scales', '0x20))), scales'],
  ],
  'emulator, simple: fp8 cache: every head': [
    ['attention', 'sum * to_float(kv.keys.scales[row])', 'sum'],
    ['attention', '* to_float(kv.values.scales[row])', '* to_float(kv.keys.scales[row])'],
  ],
  'scalar: fp8 cache: queries': [
    ['../cpu/cpu_kernels', 'value_stride_, 1, index * block_tokens + slot)', 'value_stride_, 1, index * block_tokens)'],
    ['../cpu/bodies.inc', 'head.scales + block * head.scale_block_stride + i', 'head.scales + i'],
  ],
  'what an fp8 cache keeps': [
    ['../../fp8', '+ 0x1fffffu) >> 23', '+ 0x0fffffu) >> 23'],
    ['../../fp8', 'exponent - 120 : 1', 'exponent - 119 : 1'],
    ['../../fp8', 'cached_max = 61440.0f', 'cached_max = 65504.0f'],
    ['../../fp8', '(142u - (scale >> 10))', '(141u - (scale >> 10))'],
  ],
  'emulator, simple: a product is': [['matmul', 'min(first + r, last)', 'min(first, last)']],
  'emulator: a product is': [['gemm_pipeline', 'block > first ? sums[i]', 'block > first + 1 ? sums[i]']],
  'emulator: fp8 weights': [
    ['gemm_fp8', 'warp_size * 16 + thread % warp_size / 4', 'warp_size * 16 + thread % warp_size / 4 + 1'],
    ['gemm_fp8', 'second = scales[8]', 'second = scales[0]'],
    ['gemm_fp8', 'sums[i] *= i / 2', 'sums[i] *= i / 4'],
    ['gemm_fp8', 'words[j / 2] >> 16 * (j % 2)', 'words[j / 2] >> 16 * (1 - j % 2)'],
    ['gemm_fp8', 'from + i * warpgroup_codes', 'from + i / 2 * 2 * warpgroup_codes'],
    ['gemm_fp8', 'i % tile_products * wgmma_inputs, sums', 'i % 2 * wgmma_inputs, sums'],
    ['gemm_fp8', '        wgmma_wait<0>();\n', ''],
    ['gemm_fp8', '  wgmma_fence();\n', ''],
    ['gemm_fp8', 'accumulate || i > 0', 'accumulate'],
    [
      'gemm_pipeline',
      'S::Weights::scale_rows(product, pair, sums);',
      'S::Weights::scale_rows(product, pair, sums), S::Weights::scale_rows(product, pair, sums);',
    ],
    ['layout', 'k / 16 % 2 * 8 + k / 8', 'k / 8'],
    ['layout', 'k / 8 % 2 * 4 + row / 8 % 2 * 2', 'k / 8 % 2 * 2 + row / 8 % 2 * 2'],
    ['pack', 'scales)[packed_row] = scales[row]', 'scales)[packed_row] = scales[row / 2]'],
    ['pack', 'k + 1 < to.inputs ? from[1] : 0', 'from[0]'],
    ['upload_ring', 'row_scale(halves + begin', 'row_scale(halves'],
  ],
  'emulator, simple: fp8 weights': [
    ['matmul', 'apart & 0x7f007f00u) >> 1', 'apart & 0x7e007e00u) >> 1'],
    ['matmul', '* fp8_as_half_scale', ''],
    ['matmul', 'sums[r] *= scale', 'sums[r] *= scale * scale'],
  ],
  // What a CPU rounds to when it loads weights for any device.
  'fp32 rounds to the nearest fp8': [
    ['../../fp8', 'unbounded < fp8_max ? unbounded : fp8_max', 'unbounded < 512.0f ? unbounded : 512.0f'],
    ['../../fp8', 'magnitude + 0x1p14f) -', 'magnitude + 0x1p13f) -'],
    ['../../fp8', '0x7ffffu + odd', '0x80000u'],
  ],
  'emulator: products of a prefill': [
    ['gemm_stripes', 'token * tile_rows + (row', 'token * tile_rows / 2 + (row'],
    ['prefill_gemm', 'block_in_cluster()) * groups + group', 'block_in_cluster()) * groups'],
    ['prefill_gemm', 'row_tile / groups * stripes', 'row_tile * stripes'],
    ['prefill_gemm', 'add_part<false, false>(parts, sums);\n  }', 'add_part<false, true>(parts, sums);\n  }'],
    ['gemm_stripes', 'sums[begin / 2 + i]', 'sums[begin / 4 + i]'],
  ],
  // What the hardware does beside what a kernel says: it begins kernels early, copies and multiplies later, and has so much of everything.
  'emulator: a product is ': [
    [
      'gemm_pipeline',
      'wait_for_previous_kernel();\n  RingPlace place;\n  for (int unit',
      'RingPlace place;\n  for (int unit',
    ],
    ['gemm_pipeline', 'mbarrier_fence_init();', ''],
    ['gemm', '  wgmma_fence();\n', ''],
    ['gemm_pipeline', '  __threadfence();\n  named_barrier_sync', '  named_barrier_sync'],
    ['gemm_pipeline', 'sizeof(Shared<S>), stream, product', 'sizeof(Shared<S>) + (128 << 10), stream, product'],
    ['gemm_pipeline', 'min(pair * groups + group, product', 'min(pair * groups, product'],
    ['matrix_descriptor', 'group_stride = 1024 / 16', 'group_stride = 512 / 16'],
    ['matrix_descriptor', 'swizzle_128 = 1', 'swizzle_128 = 2'],
  ],
  // Of enough inputs for every stage of the ring, and of enough rows for its widest products.
  'emulator: products as long': [
    ['gemm', '        wgmma_wait<1>();\n', ''],
    ['gemm_pipeline', 'const int early = min(end - begin, stages)', 'const int early = min(end - begin, stages) + 1'],
    ['gemm_pipeline', 'first + n>(weights, inputs', 'first>(weights, inputs'],
    ['matrix_descriptor', '>> 4 & 0x3fff', '>> 4 & 0x1fff'],
  ],
  'emulator: a product added': [['gemm_stripes', 'adds ? plus(before[j], own) : own', 'own']],
  'emulator: products of a prefill are': [
    ['prefill_gemm', 'mbarrier_fence_init();', ''],
    ['prefill_gemm', '    wgmma_fence();\n', ''],
    ['prefill_gemm', '      wgmma_wait<1>();\n', ''],
    ['gemm_stripes', 'consumer_registers = 240', 'consumer_registers = 248'],
    ['prefill_gemm', 'constexpr int stages = 4;', 'constexpr int stages = 8;'],
    ['prefill_gemm', 'sums[i] = 0;', 'sums[i] = i == 0;'],
    // What two blocks of a cluster bring and say to each other.
    ['prefill_gemm', 'cluster_sync();  //', '__syncthreads();  //'],
    ['prefill_gemm', 'cluster * groups * warpgroup / warp_size', 'groups * warpgroup / warp_size'],
    ['prefill_gemm', 'if (lane < cluster) mbarrier', 'if (lane < 1) mbarrier'],
    ['prefill_gemm', 'first = block_in_cluster() * shared_rows', 'first = 0 * shared_rows'],
    ['prefill_gemm', '(1 << cluster) - 1', '1'],
    ['prefill_gemm', 'sizeof(stage.inputs) / cluster, full', 'sizeof(stage.inputs) / 4, full'],
    ['prefill_gemm', 'tile / tokens * cluster + block_in_cluster()', 'tile / tokens * cluster'],
    ['prefill_gemm', 'max(filled - stages, 0); last', 'filled; last'],
    ['prefill_gemm', 'clusters * cluster, threads', 'clusters * cluster - 1, threads'],
  ],
  'emulator: adapters add': [
    ['adapters', 'item.first_token + min(t, item.tokens - 1)', 'item.first_token'],
    ['adapters', 'work.part.first_rank + rank] = work', 'rank] = work'],
    ['adapters', 'token = i / part.b_stride, rank', 'token = i / part.b_stride / 2, rank'],
    ['adapters', '  __syncthreads();\n  const int output', '  const int output'],
    ['step_descriptor', 'run.first_token + done', 'run.first_token'],
  ],
  'emulator: adapters find': [
    ['adapters', 'alternates ? weight.packed_row(part.first_output + output) : ', ''],
    ['swiglu', 'row(blockIdx.x) + 2 * k', 'row(blockIdx.x) + k'],
  ],
  'emulator: adapters of a recorded': [
    ['cuda_kernels', 'counts.merged_tokens > 0, counts.adapter_items > 0}', 'counts.merged_tokens > 0, false}'],
  ],
  'emulator: queries and': [['kv_store', 'pair = i / 2 * warp_size + int', 'pair = int']],
  'emulator: attention over several splits ': [
    ['tiled_attention', 'running);\n      __syncthreads();\n    }\n', 'running);\n    }\n'],
    ['tiled_attention', 'cp_async_wait<1>();', 'cp_async_wait<2>();'],
  ],
  'emulator: steps begun': [
    [
      'cuda_kernels',
      '  multiply(Epilogue::store, in, weight, logit_rows(rows)',
      '  if (is_recording_) stream_.synchronize();\n  multiply(Epilogue::store, in, weight, logit_rows(rows)',
    ],
    [
      'cuda_kernels',
      '  multiply(Epilogue::store, in, weight, logit_rows(rows)',
      '  if (is_recording_) DeviceMemory(64, "a");\n  multiply(Epilogue::store, in, weight, logit_rows(rows)',
    ],
  ],
  'emulator, simple: every head': [['attention', '(begin + j) % block_tokens', 'j % 8']],
  'emulator: every head': [
    ['tiled_attention', 'lane % 16, k * 2 + lane / 16', 'lane % 16, k * 2 + lane / 8 % 2'],
    ['tiled_attention', 'lane % 8 + lane / 16 * 8', 'lane % 16'],
    ['tiled_attention', 'min(begin + page, last)', 'min(begin, last)'],
  ],
  'emulator: attention over several splits': [
    ['tiled_attention', 'int64_t(first_part + split)', 'int64_t(first_part + split / 2)'],
    ['attention_plan', 'batch.starts[s] + i', 'batch.starts[s]'],
    ['tiled_attention', '(Problem problem) {\n  wait_for_previous_kernel();', '(Problem problem) {'],
  ],
  'emulator: attention is the same whole': [['tiled_attention', 'split > 0 ? value', 'split > 1 ? value']],
  'emulator: steps begun before': [
    ['references', 'drawn[-1 - reference]', 'drawn[0]'],
    ['cuda_kernels', 'steps_finished_++ % ended_.size()', 'steps_finished_++ % 1'],
    ['cuda_kernels', 'step.arrived.record(stream_);', ''],
    ['cuda_kernels', 'step.arrived.synchronize();', ''],
    ['cuda_kernels', '"a copy of weights");\n  stream_.synchronize();', '"a copy of weights");'],
    ['cuda_kernels', '"the angles");\n  stream_.synchronize();', '"the angles");'],
  ],
  // What one stream waits for of another.
  'emulator: a device overwrites': [
    ['cuda_kernels', 'cudaStreamWaitEvent(sender.stream_, received_, 0)', 'cudaStreamWaitEvent(stream_, received_, 0)'],
    ['cuda_kernels', 'received_.record(stream_);', ''],
    ['cuda_kernels', 'cudaStreamWaitEvent(stream_, sender.computed_, 0), "what', 'cudaGetLastError(), "what'],
    ['cuda_kernels', 'sender.computed_.record(sender.stream_);', ''],
    ['cuda_kernels', 'cudaStreamWaitEvent(stream_, from.computed_, 0)', 'cudaGetLastError()'],
    ['cuda_kernels', '    from.computed_.record(from.stream_);', ''],
  ],
  // What ranks have of a whole, and what they give each other.
  'emulator: tensor parallel: a product': [
    ['../tensor_parallel', 'own(to).columns[rank].front()', 'own(to).columns[0].front()'],
  ],
  'emulator: tensor parallel: fp8': [
    ['../tensor_parallel', '(row) * inputs, inputs));', '(row) * inputs, inputs / ranks()));'],
  ],
  'emulator: every rank': [
    ['cuda_kernels', 'view.parts[i] = own', 'view.parts[(i + device_.device) % parts.size()] = own'],
    ['parts', 'if (i < parts.count) sum', 'if (i < parts.count - 1) sum'],
  ],
  "emulator, tensor parallel 2: a model's logits": [
    ['../tensor_parallel', 'shape_.kv_heads * rank / ranks()', 'shape_.kv_heads * 0 / ranks()'],
    ['../tensor_parallel', 'even(size / 2, size / 2)', 'even(0, size / 2)'],
    ['../tensor_parallel', 'rows, ids.begin, of_rank', 'rows, 0, of_rank'],
    ['../tensor_parallel', 'own_column + uploaded.begin - range.begin', 'uploaded.begin - range.begin'],
    [
      '../tensor_parallel',
      'kernels.add_bias(of_rank(bias, rank), of_rank(out, rank));',
      'for (int i = 0; i < ranks(); i++) kernels.add_bias(of_rank(bias, rank), of_rank(out, rank));',
    ],
    ['../tensor_parallel', '    ranks_[rank]->select();\n', ''],
    ['cuda_kernels', 'cudaStreamWaitEvent(stream_, sender.computed_, 0), "the parts', 'cudaGetLastError(), "the parts'],
    ['../tensor_parallel', 'kernels.end_part();\n    parts', 'parts'],
    ['cuda_kernels', 'cudaStreamWaitEvent(stream_, sender.computed_, 0), "what', 'cudaGetLastError(), "what'],
  ],
  'emulator: a rank overwrites': [
    ['../tensor_parallel', 'turn_ = 1 - turn_', 'turn_ = 0'],
    ['cuda_kernels', 'cudaStreamWaitEvent(sender.stream_, received_, 0)', 'cudaGetLastError()'],
    // What orders a recording of several devices behind what they were asked before, and them behind it.
    ['cuda_kernels', 'cudaStreamWaitEvent(stream_, other->computed_, 0)', 'cudaGetLastError()'],
    ['cuda_kernels', 'cudaStreamWaitEvent(other->stream_, computed_, 0)', 'cudaGetLastError()'],
  ],
  'emulator, tensor parallel 2: recorded': [
    ['cuda_kernels', 'view(), logit_rows(rows), first_column', 'view(), rows, first_column'],
  ],
  'emulator, tensor parallel 2: adapters of a model': [
    ['../tensor_parallel', '    kernels.clear(part);\n', ''],
    ['../tensor_parallel', '{0, part.first_output}', '{0, 0}'],
  ],
  'emulator: rows of weights': [
    ['cuda_kernels', 'if (!are_weights_packed_) ring_.clear();', ''],
    ['cuda_kernels', '"clearing memory");\n  stream_.synchronize();', '"clearing memory");'],
    ['upload_ring', 'slot->stream.synchronize();\n    write', 'write'],
  ],
  'emulator: the last rows of a huge': [
    [
      'layout',
      'int64_t tile = int64_t(row / tile_rows) * k_tiles + k / tile_inputs;\n  const int unit',
      'int tile = row / tile_rows * k_tiles + k / tile_inputs;\n  const int unit',
    ],
  ],
  'emulator: the last block of a huge': [
    ['layout', 'int64_t(block) * kv_heads', 'block * kv_heads'],
    ['tiled_attention', 'const int64_t from = kv.offset', 'const int from = kv.offset'],
  ],
  'emulator: a refused step': [
    ['step_descriptor', 'staging.copied.synchronize();', ''],
    ['step_descriptor', 'staging.copied.record(stream);', ''],
  ],
  'emulator: the latest token': [
    ['sample', 'outputs + is_latest', 'outputs'],
    ['sample', 'largest(is_known) == 0', 'largest(is_known) >= 0'],
  ],
  'emulator: a scored row': [['sample', 'row_.scored >= 0 ? row_.scored : choose()', 'choose()']],
  'emulator: penalties': [['sample', 'row_.bias.begin', 'row_.bias.begin + 2']],
  'emulator: draws are': [
    ['sample', 'row_.mask.begin + id / mask_word_bits', 'row_.mask.begin'],
    ['sample', 'word >> id % mask_word_bits', 'word >> (id + 1) % mask_word_bits'],
    ['step_descriptor', 'place.mask.begin = words_;', ''],
    ['sample', 'prefix << bin_bits | uint32_t(bin)', 'prefix << bin_bits | uint32_t(bin ^ 1)'],
    ['sample', '(goal - above - 1) / each', '(goal - above) / each'],
  ],
}

export const mutations: Mutation[] = Object.entries(by_test).flatMap(([test, broken]) =>
  broken.map(([kernel, from, to]) => ({ kernel, from, to, test })),
)
