#include "output.h"

#include <nlohmann/json.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "core/memory.h"
#include "core/utf8.h"
#include "engine/request_json.h"

namespace dvlm {

std::string stats_text(const Answer& answer, const DecodeOptions& decode) {
  const DecodeStats& stats = answer.stats;
  std::string text = fmt::format("{} tokens with {}", answer.tokens.size(), name_of(decode.kind));
  if (decode.kind == DecoderKind::automatic) {
    for (const auto& [block, rounds] : stats.blocks)
      text += fmt::format(", {} {} of {}", rounds, block == 1 ? "steps" : "blocks", block);
  } else if (decode.kind != DecoderKind::autoregressive) {
    text += fmt::format(", blocks of {}", decode.block_size);
  }
  text += fmt::format(": {:.1f} tokens/s, {} passes, {:.2f} tokens per pass", answer.tokens_per_s(),
                      stats.nfe, stats.tokens_per_nfe());
  if (stats.forced > 0) text += fmt::format(", {} tokens without a choice", stats.forced);
  if (stats.fused > 0) text += fmt::format(", {} of {} rounds fused", stats.fused, stats.rounds);
  if (decode.kind != DecoderKind::autoregressive && decode.kind != DecoderKind::masked_diffusion)
    text += fmt::format(", {:.1f} accepted per round, {:.1f} verified", stats.accepted_per_round(),
                        stats.verified_per_round());
  text += fmt::format(
      "\nprompt {} tokens ({} of pictures, {} reused); encode {:.0f} ms, prefill {:.0f} ms, decode {:.0f} "
      "ms; peak memory {}",
      answer.prompt_tokens, answer.image_tokens, answer.reused_tokens, answer.encode_ms, answer.prefill_ms,
      answer.decode_ms, bytes_text(static_cast<double>(peak_rss_bytes())));
  text += fmt::format("; weights {}", bytes_text(static_cast<double>(answer.memory.weights)));
  if (answer.memory.drafts > 0)
    text += fmt::format(", {} drafts {}", name_of(answer.memory.draft),
                        bytes_text(static_cast<double>(answer.memory.drafts)));
  return text;
}

std::string comparison_text(const std::vector<Comparison>& rows) {
  std::string text = fmt::format("{:<8} {:>6} {:>7} {:>7} {:>12} {:>10} {:>9}  {}\n", "decoder", "block",
                                 "tokens", "passes", "tokens/pass", "tokens/s", "speed-up", "text");
  const double base = rows.front().answer.tokens_per_s();
  for (const Comparison& row : rows) {
    const bool ar = row.decode.kind == DecoderKind::autoregressive;
    text += fmt::format("{:<8} {:>6} {:>7} {:>7} {:>12.2f} {:>10.1f} {:>8.2f}x  {}\n",
                        name_of(row.decode.kind), ar ? 1 : row.decode.block_size, row.answer.tokens.size(),
                        row.answer.stats.nfe, row.answer.stats.tokens_per_nfe(), row.answer.tokens_per_s(),
                        base > 0 ? row.answer.tokens_per_s() / base : 0.0,
                        row.answer.tokens == rows.front().answer.tokens ? "identical" : "differs");
  }
  return text;
}

namespace {

// A picture may talk a model into commands of terminals.
std::string without_controls(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = next_utf8(text, at);
    const bool control =
        (c.code < ' ' && c.code != '\n' && c.code != '\t') || (c.code >= 0x7F && c.code < 0xA0);
    out += control ? "?" : text.substr(at, c.length);
    at += c.length;
  }
  return out;
}

}  // namespace

void print(std::string_view text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  std::string shown(text);
  if (terminal) shown = without_controls(shown);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  std::fflush(stdout);
}

void print_json(const nlohmann::json& value) {
  print(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace dvlm
