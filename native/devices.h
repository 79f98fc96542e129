// Devices share out the layers: contiguous ranges, as even as they go. The first device has
// the embedding too, the last one the final norm and the head.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.h"

namespace ziya {

struct LayerRange {
  int begin, end;
};

struct DeviceRange {
  Kernels& kernels;
  LayerRange layers;
};

class Devices {
 public:
  Devices(std::unique_ptr<Kernels> only, int layers) : Devices(list_of(std::move(only)), layers) {}
  // There may be no more devices than layers.
  Devices(std::vector<std::unique_ptr<Kernels>> kernels, int layers) : kernels_(std::move(kernels)) {
    const int count = int(kernels_.size());
    for (int i = 0; i < count; i++)
      ranges_.push_back({*kernels_[i], {int(int64_t(layers) * i / count), int(int64_t(layers) * (i + 1) / count)}});
  }

  const std::vector<DeviceRange>& ranges() const { return ranges_; }
  Kernels& first() const { return *kernels_.front(); }
  Kernels& last() const { return *kernels_.back(); }
  Kernels& of_layer(int layer) const {
    size_t range = 0;
    while (layer >= ranges_[range].layers.end) range++;
    return ranges_[range].kernels;
  }
  // "cuda:0 NAME + cuda:1 NAME"
  std::string name() const {
    std::string result;
    for (const auto& kernels : kernels_) result += (result.empty() ? "" : " + ") + kernels->device();
    return result;
  }
  // "NAME", or "NAME + OTHER" where they are not of one kind.
  std::string arithmetic() const {
    std::set<std::string> names;
    for (const auto& kernels : kernels_) names.insert(kernels->arithmetic());
    std::string result;
    for (const auto& name : names) result += (result.empty() ? "" : " + ") + name;
    return result;
  }
  int64_t allocated_bytes() const {
    int64_t sum = 0;
    for (const auto& kernels : kernels_) sum += kernels->allocated_bytes();
    return sum;
  }

 private:
  static std::vector<std::unique_ptr<Kernels>> list_of(std::unique_ptr<Kernels> only) {
    std::vector<std::unique_ptr<Kernels>> list;
    list.push_back(std::move(only));
    return list;
  }

  std::vector<std::unique_ptr<Kernels>> kernels_;
  std::vector<DeviceRange> ranges_;
};

}  // namespace ziya
