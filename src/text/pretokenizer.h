// The pre-tokenisation pattern of Qwen2, matched by hand: a regular-expression engine would tie the result to
// its Unicode version and its speed to backtracking.
#pragma once
#include <cstddef>
#include <string_view>

namespace dvlm {

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
extern const std::string_view kPretokenPattern;

// End of the match that starts at `at`, at < text.size(). Requires valid UTF-8; every position matches.
size_t pretoken_end(std::string_view text, size_t at);

}  // namespace dvlm
