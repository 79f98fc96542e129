// Several devices that compute every layer together, as one (tensor parallelism, as in Megatron-LM: arXiv 1909.08053). Each, a rank, has some heads
// with their KV cache and some columns of the MLP, and gives a part of what these add to the residual stream. All ranks add the
// parts up in the order of their numbers, so that each has the whole residual stream, in the same bytes. Rank 0 draws the tokens.
#pragma once

#include <memory>
#include <vector>

#include "kernels.h"

namespace ziya {

// Throws EngineError bad_shape, naming what so many ranks cannot share.
void check_tensor_parallel(const ModelShape& shape, int ranks);

// What a rank computes is of this shape. Where there are more ranks than KV heads, several have the same one.
ModelShape shape_of_rank(const ModelShape& shape, int ranks);

// The ranks are made for shape_of_rank() and these limits. Throws EngineError unsupported_device where one cannot reach another.
std::unique_ptr<Kernels> make_tensor_parallel(const ModelShape& shape, const StepLimits& limits, std::vector<std::unique_ptr<Kernels>> ranks);

// Each rank of the kernels, and what it has of a matrix of theirs, if there is one: for measurements. One that is alone is its only rank.
struct RankPart {
  Kernels& kernels;
  Matrix* matrix;
};
std::vector<RankPart> parts_of_ranks(Kernels& kernels, Matrix* matrix = nullptr);

}  // namespace ziya
