#include "native/native_pass.h"

namespace dvlm {

void NativePass::prepare(std::span<const Segment> given, const void* owner, const ModelConfig& config,
                         const KvPool& kv) {
  plan.plan(given, owner, config);
  segments.clear();
  table.clear();
  pool = &kv;
  own_blocks = 0;
  for (const PlannedSegment& planned : plan.segments) {
    const Segment& segment = *planned.segment;
    NativeSegment own{planned, static_cast<PagedSequence*>(segment.sequence)};
    if (segment.keep) {
      own.cache_blocks = blocks_for(segment.context + own.rows);
    } else {
      own.cache_blocks = segment.context / kKvBlock;
      own.own_blocks = blocks_for(own.own_position() + own.rows) - own.cache_blocks;
    }
    own.first_own_block = own_blocks;
    own_blocks += own.own_blocks;
    segments.push_back(own);
  }
  for (const NativeSegment& segment : segments)
    if (segment.segment->keep) segment.sequence->prepare(segment.segment->context + segment.rows);
  for (NativeSegment& segment : segments) {
    segment.first_page = table.size();
    for (const int page : segment.sequence->pages()) table.push_back(kv.data(page));
  }
}

}  // namespace dvlm
