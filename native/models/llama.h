#pragma once

#include "model.h"

namespace ziya {

extern const Architecture llama_architecture;
extern const Architecture llama_reward_architecture;

}  // namespace ziya
