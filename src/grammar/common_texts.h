// Texts that several patterns match at once, of so many characters: what a grammar, which can only offer
// alternatives, cannot say by itself.
#pragma once
#include <string>
#include <vector>

#include "grammar/regex.h"

namespace dvlm {

// Texts that all of the patterns match, each as parse_regex with `options` reads it, of `least` to `most`
// characters (kUnbounded: any number). Throws Error for what parse_regex refuses, and beyond
// kMaxCommonStates: the patterns are followed side by side, and characters counted, before any text is
// written.
Expression common_texts(Grammar& grammar, const std::vector<std::string>& patterns, int least, int most,
                        const RegexOptions& options);

inline constexpr int kMaxCommonStates = 20'000;

}  // namespace dvlm
