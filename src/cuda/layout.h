// What the host says of a pass: who sees what, where keys and values go, what rows want.
#pragma once
#include <vector>

#include "cuda/tower.h"
#include "model/pass_plan.h"
#include "model/rotary_table.h"

namespace dvlm::cuda {

// An AttentionPlan on the host.
struct AttentionTables {
  std::vector<RowPlace> places;
  std::vector<KeyPlace> key_copies;
  std::vector<AttentionTile> tiles;
  std::vector<int> page_table;
  int max_chunks = 0;

  // Rows of one segment: the first sees `visible` keys, each further one `step` more; the keys stand in
  // `pages`, where the first row's own is number `own`. The segment's rows follow those that are here.
  void add(const Heads& heads, int rows, int visible, int step, int own, std::span<const int> pages);
};

struct TextTables {
  AttentionTables attention;
  std::vector<int> tokens, wanted_rows, drawing;
  std::vector<float> features, rotation;
  std::vector<KeyPlace> copied;
  std::vector<RowWish> wishes;
  std::vector<uint64_t> masks;
  std::vector<RowChange> changes;

  // Of a planned pass whose kept segments have their pages. `first_scratch`, `scratch`: pages for keys that
  // are not kept; throws Error when a pass needs more.
  void plan(const PassPlan& plan, const ModelConfig& config, const TowerShape& shape, RotaryTable& rotary,
            int first_scratch, int scratch);
  // Behind PassPlan::ask_choices().
  void plan_choice(std::span<const Wanted> wanted);

 private:
  void add_segment(const PlannedSegment& planned, const PassPlan& plan, const TowerShape& shape, int& scratch,
                   int end);
  void add_tokens(const PlannedSegment& planned, const ModelConfig& config, const TowerShape& shape);
  std::vector<std::vector<KeyPlace>> copies_;  // of each row's key
};

// Cosines and sines of a table's rows with a head's stored dimensions: [rows][dim].
std::vector<float> stored_rotation(const RotaryTable& table, int rows, const TowerShape& shape);

// Chosen of a row as model.h says it. `logits`: for Choice::logits. `alternatives`: what DrawInRow left.
dvlm::Chosen answer_of(const Wanted& wanted, const Chosen& chosen, std::span<const Alternative> alternatives,
                       std::span<const float> logits);
RowWish wish_of(const Wanted& wanted, std::vector<uint64_t>& masks, std::vector<RowChange>& changes);

}  // namespace dvlm::cuda
