// Grammars for JavaScript: NativeVocabulary and NativeGrammar. They are used on the thread that made them, and each call
// returns at once.
#pragma once

#include <napi.h>

namespace ziya {

void export_grammar(Napi::Env env, Napi::Object exports);

}  // namespace ziya
