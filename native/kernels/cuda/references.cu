// References become ids, in the step descriptor itself, so that a step is enqueued before the one ahead of it was read.
// The trick: none; a thread a token and a row. It runs ahead of the step's other kernels, none of which then knows of it.
#include "launchers.h"

namespace ziya::ZIYA_DEVICE {
namespace {

constexpr int references_threads = 128;

// A row whose logits were not finite drew nothing: what its broken sequence goes on with is read by nobody.
__device__ __forceinline__ int32_t id_for(int32_t reference, const DrawnToken* drawn, int vocab_size) {
  return min(max(drawn[-1 - reference].token, 0), vocab_size - 1);
}

__global__ void resolve_kernel(TokenPlace* tokens, int token_count, RowPlace* rows, int row_count, const DrawnToken* drawn,
                               int vocab_size) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int i = blockIdx.x * references_threads + threadIdx.x;
  if (i < token_count && tokens[i].id < 0) tokens[i].id = id_for(tokens[i].id, drawn, vocab_size);
  if (i < row_count && rows[i].latest < 0 && rows[i].latest != no_token) rows[i].latest = id_for(rows[i].latest, drawn, vocab_size);
}

}  // namespace

void resolve_references(TokenPlace* tokens, int token_count, RowPlace* rows, int row_count, const DrawnToken* drawn, int vocab_size,
                        cudaStream_t stream) {
  LAUNCH(resolve_kernel, ceil_div(max(token_count, row_count), references_threads), references_threads, 0, stream, tokens, token_count, rows, row_count,
         drawn, vocab_size);
}

}  // namespace ziya::ZIYA_DEVICE
