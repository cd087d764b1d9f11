#include "cuda/layout.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "model/choose.h"
#include "model/paged_sequence.h"

namespace dvlm::cuda {

namespace {

int chunks_of(int keys) {
  return (keys + kChunk - 1) / kChunk;
}

}  // namespace

void AttentionTables::add(const Heads& heads, int rows, int visible, int step, int own,
                          std::span<const int> pages) {
  const int tile_rows = heads.tile_rows(), first_page = static_cast<int>(page_table.size());
  page_table.insert(page_table.end(), pages.begin(), pages.end());
  for (int i = 0; i < rows; ++i) {
    if (i % tile_rows == 0)
      tiles.push_back({first_page, visible + i * step, step, std::min(tile_rows, rows - i),
                       static_cast<int>(places.size())});
    const int key = own + i;
    places.push_back({static_cast<int>(tiles.size()) - 1,
                      i % tile_rows,
                      pages[static_cast<size_t>(key / kChunk)],
                      key % kChunk,
                      0,
                      0,
                      {}});
  }
  max_chunks = std::max(max_chunks, chunks_of(visible + (rows - 1) * step));
}

void TextTables::plan(const PassPlan& plan, const ModelConfig& config, const TowerShape& shape,
                      RotaryTable& rotary, int first_scratch, int scratch) {
  attention = {};
  tokens.clear(), wanted_rows.clear(), features.clear(), copied.clear();
  copies_.assign(static_cast<size_t>(plan.rows), {});
  rotary.reserve(plan.rows);
  int next = first_scratch;
  for (const PlannedSegment& planned : plan.segments) {
    add_segment(planned, plan, shape, next, first_scratch + scratch);
    add_tokens(planned, config, shape);
    for (int i = 0; i < planned.rows; ++i)
      rotary.set(planned.first_row + i, planned.segment->positions[static_cast<size_t>(i)]);
  }
  rotation = stored_rotation(rotary, plan.rows, shape);
  for (size_t row = 0; row < copies_.size(); ++row) {
    RowPlace& place = attention.places[row];
    place.first_copy = static_cast<int>(attention.key_copies.size());
    place.copies = static_cast<int>(copies_[row].size());
    attention.key_copies.insert(attention.key_copies.end(), copies_[row].begin(), copies_[row].end());
  }
  for (const Wanted& one : plan.wanted) {
    if (one.alternatives > kMaxAlternatives)
      fail("a card tells at most {} alternatives of a token", kMaxAlternatives);
    wanted_rows.push_back(one.row);
  }
}

// What is not kept stands in scratch pages behind the sequence's full ones: a copy of its partial page, its
// parent's tokens, its own.
void TextTables::add_segment(const PlannedSegment& planned, const PassPlan& plan, const TowerShape& shape,
                             int& scratch, int end) {
  const Segment& segment = *planned.segment;
  const int own = planned.own_position(), keys = own + planned.rows;
  const std::span<const int> held = static_cast<const PagedSequence*>(segment.sequence)->pages();
  std::vector<int> pages(held.begin(),
                         held.begin() + (segment.keep ? chunks_of(keys) : segment.context / kChunk));
  if (!segment.keep) {
    const auto full = pages.size();
    while (std::ssize(pages) < chunks_of(keys)) pages.push_back(scratch++);
    if (scratch > end)
      fail("a pass drafts more at once than there is scratch memory for: draft less, or in fewer answers");
    if (segment.context % kChunk > 0) copied.push_back({held[full], pages[full]});
    for (int i = 0; i < segment.parent_tokens; ++i) {
      const int key = segment.context + i,
                row = plan.segments[static_cast<size_t>(segment.parent)].first_row + i;
      copies_[static_cast<size_t>(row)].push_back({pages[static_cast<size_t>(key / kChunk)], key % kChunk});
    }
  }
  const bool causal = segment.visibility == Visibility::causal;
  attention.add(shape.heads, planned.rows, causal ? own + 1 : keys, causal ? 1 : 0, own, pages);
}

void TextTables::add_tokens(const PlannedSegment& planned, const ModelConfig& config,
                            const TowerShape& shape) {
  const Segment& segment = *planned.segment;
  const float* feature = segment.features.empty() ? nullptr : segment.features.data();
  const auto width = static_cast<size_t>(shape.norm_width), stored = static_cast<size_t>(shape.hidden);
  for (const TokenId token : segment.tokens) {
    if (!feature || !config.is_pad(token)) {
      tokens.push_back(token);
      continue;
    }
    tokens.push_back(-1 - static_cast<int>(features.size() / stored));
    features.insert(features.end(), feature, feature + width);
    features.resize(features.size() + stored - width, 0.0f);
    feature += width;
  }
}

RowWish wish_of(const Wanted& wanted, std::vector<uint64_t>& masks, std::vector<RowChange>& changes) {
  RowWish wish;
  wish.excluded = wanted.excluded.token, wish.limit = wanted.excluded.limit;
  if (!wanted.allowed.empty()) {
    wish.mask = static_cast<int>(masks.size()), wish.mask_words = static_cast<int>(wanted.allowed.size());
    masks.insert(masks.end(), wanted.allowed.begin(), wanted.allowed.end());
  }
  wish.change = static_cast<int>(changes.size());
  if (wanted.choice != Choice::logits) wish.changes = static_cast<int>(wanted.changes.size());
  for (const LogitChange& change : wanted.changes.first(static_cast<size_t>(wish.changes)))
    changes.push_back({change.token, change.add, change.divide, change.subtract});
  wish.alternatives = std::max(0, wanted.alternatives);
  if (wanted.choice != Choice::draw) return wish;
  wish.sharpness = static_cast<float>(std::numbers::log2e / wanted.temperature);
  wish.top_k = wanted.top_k, wish.top_p = wanted.top_p, wish.u = wanted.u;
  return wish;
}

void TextTables::plan_choice(std::span<const Wanted> wanted) {
  wishes.clear(), masks.clear(), changes.clear(), drawing.clear();
  for (const Wanted& one : wanted) {
    wishes.push_back(wish_of(one, masks, changes));
    if (wishes.back().sharpness > 0 || wishes.back().alternatives > 0)
      drawing.push_back(static_cast<int>(wishes.size()) - 1);
  }
}

std::vector<float> stored_rotation(const RotaryTable& table, int rows, const TowerShape& shape) {
  const auto own = static_cast<size_t>(shape.head_dim / 2), half = static_cast<size_t>(shape.heads.dim / 2);
  std::vector<float> out;
  out.reserve(static_cast<size_t>(rows) * half * 2);
  for (int row = 0; row < rows; ++row) {
    out.insert(out.end(), table.cos(row), table.cos(row) + own);
    out.resize(out.size() + half - own, 1.0f);
    out.insert(out.end(), table.sin(row), table.sin(row) + own);
    out.resize(out.size() + half - own, 0.0f);
  }
  return out;
}

dvlm::Chosen answer_of(const Wanted& wanted, const Chosen& chosen, std::span<const Alternative> alternatives,
                       std::span<const float> logits) {
  dvlm::Chosen out;
  if (wanted.choice == Choice::logits) {
    out.logits = logits;
    return out;
  }
  if (std::isnan(chosen.sum) || chosen.token < 0) {
    out.fault = std::isnan(chosen.sum) ? RowFault::nan : RowFault::empty;
    return out;
  }
  out.token = chosen.token, out.probability = chosen.probability;
  if (wanted.alternatives < 0) return out;
  const auto logprob = [&](float logit) {
    return log_softmax(logit, chosen.base, static_cast<double>(chosen.sum));
  };
  out.logprob = logprob(chosen.logit);
  std::vector<Alternative> sorted;
  for (const Alternative& a : alternatives.first(static_cast<size_t>(wanted.alternatives)))
    if (a.token >= 0) sorted.push_back(a);
  std::ranges::sort(sorted, [](const Alternative& a, const Alternative& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  });
  for (const Alternative& a : sorted) out.top.emplace_back(a.token, logprob(a.logit));
  return out;
}

}  // namespace dvlm::cuda
