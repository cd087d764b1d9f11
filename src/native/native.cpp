#include "native/native.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/checksum.h"
#include "core/error.h"
#include "core/finally.h"
#include "core/machine.h"
#include "kernels/isa.h"
#include "kernels/targets.h"
#include "native/text_tower.h"
#include "native/vision_tower.h"

namespace dvlm {

namespace {

WeightFormats formats_of(const Checkpoint& checkpoint, Precision precision) {
  const bool f32 = precision == Precision::f32 ||
                   (precision == Precision::automatic && checkpoint.head().type == DType::f32);
  const WeightFormat wide = f32 ? WeightFormat::f32_panels : WeightFormat::bf16_panels;
  const bool four_bits =
      (precision == Precision::automatic || precision == Precision::int4) && keeps_four_bits(checkpoint);
  const WeightFormat int8 = WeightFormat::int8_panels, int4 = WeightFormat::int4_panels;
  if (precision == Precision::int8) return {.linear = int8, .head = int8, .wide = wide};
  if (precision == Precision::int4)
    return {.linear = int4, .head = int8, .wide = wide, .four_bits = four_bits};
  return {.linear = wide, .head = wide, .wide = wide, .four_bits = four_bits};
}

// Tells files and measurements of one checkpoint in several formats apart.
std::string name_of(const WeightFormats& formats, DraftPrecision draft) {
  return fmt::format("weights {}{}, drafts {}", static_cast<int>(formats.linear),
                     formats.four_bits ? " and codes of four bits" : "", static_cast<int>(draft));
}

WeightFormat draft_format(DraftPrecision precision) {
  return precision == DraftPrecision::int8 ? WeightFormat::int8_panels : WeightFormat::int4_panels;
}

class NativeModel : public Model {
 public:
  NativeModel(const Checkpoint& checkpoint, const WeightFormats& formats, KvType kv,
              std::shared_ptr<ThreadPool> pool, std::shared_ptr<MemoryBudget> budget, const Loading& loading,
              const ModelOptions& options, WeightMemory memory)
      : config_(checkpoint.config()),
        pool_(std::move(pool)),
        budget_(std::move(budget)),
        text_(config_.text, load_text(checkpoint, formats, loading), kv, loading.pool, options.observer),
        vision_(config_.vision, load_vision(checkpoint, formats, loading), kv, loading.pool,
                options.observer),
        kv_pool_(std::make_shared<KvPool>(text_.heads(), config_.text.layers, options.kv_limit, budget_)),
        memory_(memory) {
    if (memory.draft != DraftPrecision::same)
      text_.set_draft(load_draft(checkpoint, draft_format(memory.draft), loading));
    if (options.draft_lora)
      text_.set_adapters(load_adapters(*options.draft_lora, config_, formats.wide, loading.pool));
    if (!checkpoint.identity().empty())
      timing_name_ =
          fmt::format("{:016x}, {}, {} threads of {}, {}",
                      checksum(checkpoint.identity() +
                               (options.draft_lora ? options.draft_lora->identity() : std::string())),
                      name_of(formats, memory.draft), pool_->threads(), processor_name(), current_isa().name);
  }

  const ModelConfig& config() const override { return config_; }

  ImageFeatures encode_image(const Patches& patches) override {
    const size_t bytes = vision_.activation_bytes(patches.grid.patches());
    budget_->reserve(bytes, "encoding this image");
    const Finally release([&] { budget_->release(bytes); });
    return vision_.encode(patches, [&](int64_t done, int64_t total) { tell(done, total); });
  }

  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    return std::make_unique<PagedSequence>(this, kv_pool_, capacity);
  }
  KvMemory kv_memory() const override { return {kv_pool_->used(), kv_pool_->limit()}; }
  WeightMemory weight_memory() const override { return memory_; }
  std::string timing_name() const override { return timing_name_; }

  std::span<const Chosen> forward(std::span<const Segment> segments) override {
    pass_.prepare(segments, this, config_, *kv_pool_);
    reserve_buffers();
    pass_.plan.ask_choices();  // the pass has all of the processor
    return text_.forward(pass_, config_, [&](int64_t done, int64_t total) { tell(done, total); });
  }

 private:
  // Each buffer grows to the largest that a pass needs: asks for what this one adds.
  void reserve_buffers() {
    TextTower::BufferBytes grown = text_.activation_bytes(pass_);
    size_t more = 0;
    for (size_t i = 0; i < grown.size(); ++i) {
      grown[i] = std::max(grown[i], buffers_[i]);
      more += grown[i] - buffers_[i];
    }
    if (more == 0) return;
    budget_->reserve(more, "a pass of this many tokens");
    buffers_ = grown;
  }

  ModelConfig config_;
  std::shared_ptr<ThreadPool> pool_;
  std::shared_ptr<MemoryBudget> budget_;
  TextTower::BufferBytes buffers_ = {};  // reserved for the text tower
  TextTower text_;
  VisionTower vision_;
  std::shared_ptr<KvPool> kv_pool_;
  NativePass pass_;
  WeightMemory memory_;
  std::string timing_name_;
};

KvType kv_type_of(const WeightFormats& formats) {
  return formats.wide == WeightFormat::f32_panels ? KvType::f32 : KvType::bf16;
}

// What the text tower's linear layers become, going by one of them.
WeightFormat text_format(const Checkpoint& checkpoint, const WeightFormats& formats) {
  if (formats.four_bits) return WeightFormat::int4_panels;
  const auto first = checkpoint.tensors().find("model.layers.0.mlp.down_proj.weight");
  return first == checkpoint.tensors().end() ? formats.linear : formats.of(first->second);
}

// Integers draft as fast as they verify, and a second copy of them would be the first.
WeightMemory plan_memory(const Checkpoint& checkpoint, const WeightFormats& formats, DraftPrecision draft,
                         size_t free) {
  WeightMemory out{packed_bytes(checkpoint, formats), 0, draft};
  const WeightFormat text = text_format(checkpoint, formats);
  const bool integers = text == WeightFormat::int8_panels || text == WeightFormat::int4_panels;
  if (draft == DraftPrecision::automatic && !integers)
    out.draft = drafts_that_pay(out.weights, draft_bytes(checkpoint, WeightFormat::int4_panels), free);
  else if (draft == DraftPrecision::automatic || (integers && draft_format(draft) == text))
    out.draft = DraftPrecision::same;
  if (out.draft != DraftPrecision::same) out.drafts = draft_bytes(checkpoint, draft_format(out.draft));
  return out;
}

}  // namespace

std::unique_ptr<Model> load_native(const Checkpoint& checkpoint, const ModelOptions& options) {
  if (options.draft == DraftPrecision::fp8)
    fail("--draft-precision fp8 needs --device cuda: the CPU drafts with same, int8 or int4");
  apply_isa_variable();
  const auto pool = std::make_shared<ThreadPool>(options.threads);
  const WeightFormats formats = formats_of(checkpoint, options.precision);
  const auto budget = std::make_shared<MemoryBudget>(options.memory_limit);
  const WeightMemory memory = plan_memory(checkpoint, formats, options.draft, budget->free());
  if (options.draft_lora)
    budget->reserve(adapter_bytes(*options.draft_lora, checkpoint.config(), formats.wide),
                    "the adapter for drafts");
  budget->reserve(memory.weights, "the model");
  budget->reserve(memory.drafts, "the draft weights (--draft-precision)");
  std::unique_ptr<PackedFile> packed;
  if (!options.packed_file.empty() && !checkpoint.identity().empty()) {
    const std::string identity = checkpoint.identity() + name_of(formats, memory.draft);
    packed = std::make_unique<PackedFile>(options.packed_file, identity);
  }
  LoadProgress progress(memory.weights + memory.drafts);
  const auto load = [&](PackedFile* from) {
    return std::make_unique<NativeModel>(checkpoint, formats, kv_type_of(formats), pool, budget,
                                         Loading{*pool, progress, from}, options, memory);
  };
  auto model = load(packed.get());
  if (packed && !packed->finish(*pool, progress)) {
    model.reset();
    packed->begin_anew();
    model = load(packed.get());
    packed->finish(*pool, progress);
  }
  return model;
}

}  // namespace dvlm
