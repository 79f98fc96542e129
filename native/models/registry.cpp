#include "registry.h"

#include <algorithm>
#include <deque>

#include "gpt_bigcode.h"
#include "llama.h"

namespace ziya {
namespace {

std::deque<Architecture>& architectures() {
  static std::deque<Architecture> all = {llama_architecture, llama_reward_architecture, gpt_bigcode_architecture};
  return all;
}

}  // namespace

const Architecture& architecture_of(const std::string& name) {
  const auto& all = architectures();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Architecture& each) { return each.name == name; });
  if (found == all.end()) throw EngineError("unsupported_architecture", "this build has no architecture " + name);
  return *found;
}

bool register_architecture(const Architecture& architecture) {
  architectures().push_back(architecture);
  return true;
}

}  // namespace ziya
