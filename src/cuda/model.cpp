#include "cuda/model.h"

#include <algorithm>

#include "core/error.h"
#include "core/memory.h"
#include "cuda/layout.h"
#include "cuda/packing.h"
#include "cuda/pages.h"
#include "cuda/pass.h"
#include "model/picture_plan.h"

namespace dvlm::cuda {

namespace {

size_t product(size_t a, int b) {
  return a * static_cast<size_t>(b);
}

// PassBuffers that grow.
class Buffers {
 public:
  explicit Buffers(const std::shared_ptr<Device>& device)
      : device_(device),
        residual_(device),
        parts_(device),
        row_scale_(device),
        values_(device),
        largest_(device),
        sums_(device),
        inputs_(device),
        activated_(device),
        wide_(device),
        queries_(device) {}

  // `inputs`: elements that linear layers outside the tower's layers read. `sums`: of all splits of all rows
  // of any. `e4m3`: whether layers round what they read.
  PassBuffers fit(const TowerShape& shape, std::initializer_list<const AttentionTables*> plans, int rows,
                  size_t inputs, size_t sums, bool e4m3) {
    const auto padded = static_cast<size_t>(padded_tiles(rows)) * 8;
    const int inner = shape.heads.heads * shape.heads.dim;
    PassBuffers out;
    out.residual = residual_.room(product(padded, shape.hidden));
    out.inputs = inputs_.room(std::max(product(padded, std::max(shape.hidden, inner)), inputs));
    out.activated = activated_.room(product(padded, shape.intermediate));
    if (e4m3) out.wide = wide_.room(product(padded, std::max({shape.intermediate, inner, shape.hidden})));
    out.parts = parts_.room(sums);
    out.row_scale = row_scale_.room(padded);
    size_t queries = 0, shares = 0;
    for (const AttentionTables* plan : plans) {
      const size_t own = product(product(plan->tiles.size(), shape.heads.kv_heads), kChunk);
      queries = std::max(queries, own);
      if (takes_chunks(shape.heads, static_cast<int>(plan->tiles.size()), plan->max_chunks,
                       device_->processors()))
        shares = std::max(shares, product(own, rounded_chunks(plan->max_chunks)));
    }
    out.queries = queries_.room(product(queries, shape.heads.dim));
    out.shares = {values_.room(product(shares, shape.heads.dim)), largest_.room(shares), sums_.room(shares),
                  0};
    return out;
  }

 private:
  std::shared_ptr<Device> device_;
  DeviceArray<float> residual_, parts_, row_scale_, values_, largest_, sums_;
  DeviceArray<uint16_t> inputs_, activated_, wide_, queries_;
};

// Fewer rows may be cut into more splits: `rows` are those that the layers run with.
size_t sums_of(std::initializer_list<const Matrix*> matrices, int rows, int processors) {
  size_t most = 0;
  for (const Matrix* m : matrices)
    most = std::max(most,
                    product(static_cast<size_t>(m->outputs), splits_of(*m, padded_tiles(rows), processors)));
  return product(most, padded_tiles(rows) * 8);
}

class AttentionArrays {
 public:
  explicit AttentionArrays(const std::shared_ptr<Device>& device)
      : places_(device), copies_(device), tiles_(device), table_(device) {}

  AttentionPlan hold(const AttentionTables& tables) {
    return {places_.hold(tables.places),    copies_.hold(tables.key_copies),       tiles_.hold(tables.tiles),
            table_.hold(tables.page_table), static_cast<int>(tables.tiles.size()), tables.max_chunks};
  }

 private:
  PassArray<RowPlace> places_;
  PassArray<KeyPlace> copies_;
  PassArray<AttentionTile> tiles_;
  PassArray<int> table_;
};

// What a text pass is asked, and what it answers, on the device.
class TextArrays {
 public:
  explicit TextArrays(const std::shared_ptr<Device>& device)
      : attention_(device),
        tokens_(device),
        wanted_(device),
        drawing_(device),
        features_(device),
        rotation_(device),
        logits_(device),
        copied_(device),
        wishes_(device),
        masks_(device),
        changes_(device),
        best_(device),
        chosen_(device),
        alternatives_(device) {}

  TextPass hold(const TextTables& t, const TextTower& tower) {
    TextPass out;
    out.rows = static_cast<int>(t.tokens.size()), out.wanted = static_cast<int>(t.wanted_rows.size());
    out.page_copies = static_cast<int>(t.copied.size());
    out.attention = attention_.hold(t.attention);
    out.tokens = tokens_.hold(t.tokens), out.features = features_.hold(t.features);
    out.rotation = rotation_.hold(t.rotation), out.copied = copied_.hold(t.copied);
    out.wanted_rows = wanted_.hold(t.wanted_rows);
    out.logits = logits_.room(product(static_cast<size_t>(padded_tiles(out.wanted)) * 8, tower.head.outputs));
    // Memory that grows later waits for the layers.
    const auto wanted = static_cast<size_t>(out.wanted);
    wishes_.room(wanted), drawing_.room(wanted), chosen_.room(wanted), best_.room(wanted * kSlices);
    alternatives_.room(wanted * kMaxAlternatives);
    return out;
  }

  // Of the same tables, while the layers run.
  ChoicePass hold_choice(const TextTables& t, const TextPass& pass) {
    ChoicePass out;
    out.wanted = pass.wanted, out.draws = static_cast<int>(t.drawing.size()), out.logits = pass.logits;
    out.wishes = wishes_.hold(t.wishes), out.masks = masks_.hold(t.masks);
    out.changes = changes_.hold(t.changes), out.changed = !t.changes.empty();
    out.drawing = drawing_.hold(t.drawing);
    const auto wanted = static_cast<size_t>(pass.wanted);
    out.best = best_.room(wanted * kSlices), out.chosen = chosen_.room(wanted);
    if (out.draws > 0)
      out.alternatives = alternatives_.hold(std::vector<Alternative>(wanted * kMaxAlternatives));
    return out;
  }

  std::vector<Chosen> chosen(size_t wanted) const { return chosen_.read(0, wanted); }
  std::vector<Alternative> alternatives(size_t wanted) const {
    return alternatives_.read(0, wanted * kMaxAlternatives);
  }
  std::vector<float> logits(size_t row, const TextTower& tower) const {
    return logits_.read(product(row, tower.head.outputs), static_cast<size_t>(tower.vocab));
  }

 private:
  AttentionArrays attention_;
  PassArray<int> tokens_, wanted_, drawing_;
  PassArray<float> features_, rotation_, logits_;
  PassArray<KeyPlace> copied_;
  PassArray<RowWish> wishes_;
  PassArray<uint64_t> masks_;
  PassArray<RowChange> changes_;
  PassArray<SliceBest> best_;
  PassArray<Chosen> chosen_;
  PassArray<Alternative> alternatives_;
};

// Of all layers.
size_t page_elements(const TextConfig& text) {
  const Heads heads{text.heads, text.kv_heads, stored_head_dim(text.head_dim, text.heads)};
  return product(heads.page_elements(), text.layers);
}

class CudaModel final : public Model {
 public:
  CudaModel(const Checkpoint& checkpoint, std::shared_ptr<Device> device, Weights weights,
            WeightMemory memory, int pages, std::shared_ptr<MemoryBudget> budget)
      : config_(checkpoint.config()),
        device_(std::move(device)),
        weights_(std::move(weights)),
        memory_(memory),
        pages_(std::make_shared<DevicePages>(device_, page_elements(config_.text), pages, std::move(budget))),
        text_rotary_(text_rotary(config_.text.rope_theta, config_.text.head_dim, config_.text.mrope_section)),
        vision_rotary_(vision_rotary(config_.vision.head_dim())),
        buffers_(device_),
        arrays_(device_) {}

  const ModelConfig& config() const override { return config_; }
  std::unique_ptr<Sequence> new_sequence(int capacity) override {
    return std::make_unique<PagedSequence>(this, pages_, capacity);
  }
  KvMemory kv_memory() const override { return {pages_->used(), pages_->limit()}; }
  WeightMemory weight_memory() const override { return memory_; }

  std::span<const dvlm::Chosen> forward(std::span<const Segment> segments) override;
  ImageFeatures encode_image(const Patches& patches) override;

 private:
  bool choose(const TextTower& tower, const PassBuffers& buffers, const TextPass& pass);
  void answer(std::span<const Wanted> wanted, bool drew);

  ModelConfig config_;
  std::shared_ptr<Device> device_;
  Weights weights_;
  WeightMemory memory_;
  std::shared_ptr<DevicePages> pages_;
  RotaryTable text_rotary_, vision_rotary_;
  Buffers buffers_;
  TextArrays arrays_;
  PassPlan plan_;
  TextTables tables_;
  std::vector<dvlm::Chosen> answers_;
  std::vector<std::vector<float>> logits_;
};

std::span<const dvlm::Chosen> CudaModel::forward(std::span<const Segment> segments) {
  plan_.plan(segments, this, config_);
  const TextTower& tower = weights_.draft && plan_.approximate ? *weights_.draft : weights_.text;
  for (const PlannedSegment& s : plan_.segments)
    if (s.segment->keep)
      static_cast<PagedSequence*>(s.segment->sequence)->prepare(s.segment->context + s.rows);
  tables_.plan(plan_, config_, tower.shape, text_rotary_, pages_->first_scratch(), DevicePages::kScratch);
  const int rows = std::max(plan_.rows, static_cast<int>(plan_.wanted.size()));
  const LayerMatrices& layer = tower.layers[0];
  PassBuffers buffers = buffers_.fit(
      tower.shape, {&tables_.attention}, rows, 0,
      sums_of({&layer.qkv, &layer.output, &layer.down}, plan_.rows, device_->processors()), layer.qkv.e4m3);
  buffers.pages = pages_->view();
  const TextPass pass = arrays_.hold(tables_, tower);
  tell(0, 1);
  const bool drew = choose(tower, buffers, pass);
  answer(plan_.wanted, drew);
  tell(1, 1);
  for (const PlannedSegment& s : plan_.segments)
    if (s.segment->keep)
      static_cast<PagedSequence*>(s.segment->sequence)->extend_to(s.segment->context + s.rows);
  return answers_;
}

// What rows may choose is found while the layers run. Whether the choice kept alternatives.
bool CudaModel::choose(const TextTower& tower, const PassBuffers& buffers, const TextPass& pass) {
  device_->start(tower, buffers, pass);
  try {
    plan_.ask_choices();
    tables_.plan_choice(plan_.wanted);
    const ChoicePass choice = arrays_.hold_choice(tables_, pass);
    device_->choose(tower, choice);
    return choice.draws > 0;
  } catch (...) {
    device_->wait();  // the next pass writes what the layers read
    throw;
  }
}

void CudaModel::answer(std::span<const Wanted> wanted, bool drew) {
  const std::vector<Chosen> chosen = arrays_.chosen(wanted.size());
  const std::vector<Alternative> alternatives =
      drew ? arrays_.alternatives(wanted.size()) : std::vector<Alternative>();
  answers_.clear(), logits_.assign(wanted.size(), {});
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i].choice == Choice::logits) logits_[i] = arrays_.logits(i, weights_.text);
    const bool listed = wanted[i].alternatives > 0 && drew;
    answers_.push_back(answer_of(wanted[i], chosen[i],
                                 listed
                                     ? std::span(alternatives).subspan(i * kMaxAlternatives, kMaxAlternatives)
                                     : std::span<const Alternative>(),
                                 logits_[i]));
  }
}

// Who sees whom between `boundaries` of the patches; every stretch has pages of its own.
AttentionTables stretches(const Heads& heads, std::span<const int> boundaries, int& pages) {
  AttentionTables out;
  pages = 0;
  for (size_t i = 1; i < boundaries.size(); ++i) {
    const int rows = boundaries[i] - boundaries[i - 1];
    std::vector<int> own;
    for (int at = 0; at < rows; at += kChunk) own.push_back(pages++);
    out.add(heads, rows, rows, 0, 0, own);
  }
  return out;
}

// The patches' values as the patch layer takes them, in window order, and the positions of their rows.
std::vector<float> in_window_order(const Patches& patches, const PicturePlan& plan, int elements, int stored,
                                   RotaryTable& rotary) {
  std::vector<float> out(product(static_cast<size_t>(plan.rows()), stored), 0.0f);
  rotary.reserve(plan.rows());
  for (int row = 0; row < plan.rows(); ++row) {
    std::copy_n(patches.values.begin() + static_cast<ptrdiff_t>(plan.source(row)) * elements, elements,
                out.begin() + static_cast<ptrdiff_t>(row) * stored);
    rotary.set(row, plan.position(row));
  }
  return out;
}

// From window order to the picture's, without what widths are padded by.
ImageFeatures in_picture_order(const std::vector<float>& stored, const PicturePlan& plan, int stored_width,
                               int width) {
  ImageFeatures out{std::vector<float>(product(static_cast<size_t>(plan.tokens()), width)), plan.tokens()};
  for (int g = 0; g < plan.tokens(); ++g)
    std::copy_n(stored.begin() + static_cast<ptrdiff_t>(g) * stored_width, width,
                out.values.begin() + static_cast<ptrdiff_t>(plan.token(g)) * width);
  return out;
}

ImageFeatures CudaModel::encode_image(const Patches& patches) {
  const VisionTower& tower = weights_.vision;
  const VisionConfig& vision = config_.vision;
  const PicturePlan plan(patches, vision);
  const int rows = plan.rows(), tokens = plan.tokens();
  int window_pages = 0, slice_pages = 0;
  const AttentionTables narrow = stretches(tower.shape.heads, plan.windows(), window_pages),
                        whole = stretches(tower.shape.heads, plan.slices(), slice_pages);
  const std::vector<float> values =
      in_window_order(patches, plan, vision.patch_elements(), tower.patches.inputs, vision_rotary_);

  const LayerMatrices& layer = tower.layers[0];
  const auto read = [](int count, int inputs) {
    return product(static_cast<size_t>(padded_tiles(count)) * 8, inputs);
  };
  const size_t inputs = std::max(read(rows, tower.patches.inputs),
                                 read(tokens, std::max(tower.merger_in.inputs, tower.merger_out.inputs)));
  Buffers own(device_);
  const size_t in_layers = sums_of({&tower.patches, &layer.qkv, &layer.output, &layer.down}, rows,
                                   device_->processors()),
               in_merger = sums_of({&tower.merger_in, &tower.merger_out}, tokens, device_->processors());
  PassBuffers buffers = own.fit(tower.shape, {&narrow, &whole}, rows, inputs, std::max(in_layers, in_merger),
                                layer.qkv.e4m3 || tower.merger_in.e4m3);
  DeviceArray<uint16_t> pages(device_);
  buffers.pages =
      pages.zeros(product(tower.shape.heads.page_elements(), std::max(window_pages, slice_pages)));
  AttentionArrays narrow_arrays(device_), whole_arrays(device_);
  DeviceArray<float> in(device_), rotation(device_), out(device_);
  const VisionPass pass{rows,
                        narrow_arrays.hold(narrow),
                        whole_arrays.hold(whole),
                        in.hold(values),
                        rotation.hold(stored_rotation(vision_rotary_, rows, tower.shape)),
                        out.room(product(static_cast<size_t>(tokens), tower.merger_out.outputs))};
  tell(0, 1);
  device_->run(tower, buffers, pass);
  ImageFeatures features = in_picture_order(out.read(0, pass.features.size), plan, tower.merger_out.outputs,
                                            vision.out_hidden_size);
  tell(1, 1);
  return features;
}

WeightMemory plan_memory(const Checkpoint& checkpoint, const ModelOptions& options) {
  const size_t drafts = options.draft == DraftPrecision::fp8 ? draft_bytes(checkpoint) : 0;
  return {weight_bytes(checkpoint), drafts, drafts > 0 ? DraftPrecision::fp8 : DraftPrecision::same};
}

}  // namespace

std::string refusal(const ModelOptions& options) {
  if (options.precision == Precision::f32)
    return "--precision f32 needs --device cpu: a card computes in bf16 or FP8";
  if (options.precision == Precision::int8 || options.precision == Precision::int4)
    return "--precision int8 and int4 need --device cpu: a card computes in bf16 or FP8";
  if (options.draft == DraftPrecision::int8 || options.draft == DraftPrecision::int4)
    return "--draft-precision int8 and int4 need --device cpu: a card drafts with same or fp8";
  if (options.draft_lora) return "--draft-lora needs --device cpu";
  if (options.observer) return "calibration needs --device cpu";
  if (!options.packed_file.empty())
    return "--packed needs --device cpu: it keeps weights in the order of the CPU's kernels";
  return {};
}

size_t least_bytes(const Checkpoint& checkpoint, const ModelOptions& options) {
  constexpr size_t kTokens = 4096;
  const size_t pages = kTokens / kChunk, page = page_elements(checkpoint.config().text) * sizeof(uint16_t);
  const WeightMemory memory = plan_memory(checkpoint, options);
  return memory.weights + memory.drafts + page * (DevicePages::kScratch + 2 * pages);  // buffers have half
}

std::unique_ptr<Model> load_model(const Checkpoint& checkpoint, const std::shared_ptr<Device>& device,
                                  const ModelOptions& options) {
  if (const std::string why = refusal(options); !why.empty()) fail("{}", why);
  const size_t free = device->free_bytes(),
               limit = options.memory_limit > 0 ? std::min(options.memory_limit, free) : free;
  const auto budget = std::make_shared<MemoryBudget>(limit);
  const WeightMemory memory = plan_memory(checkpoint, options);
  budget->reserve(memory.weights, "the model");
  budget->reserve(memory.drafts, "the draft weights (--draft-precision)");
  LoadProgress progress(memory.weights + memory.drafts);
  Weights weights = load_weights(checkpoint, device, options.threads, progress);
  if (memory.drafts > 0) load_draft(checkpoint, device, options.threads, progress, weights);
  const size_t page = page_elements(checkpoint.config().text) * sizeof(uint16_t);
  budget->reserve(page * DevicePages::kScratch, "scratch memory for drafts");
  // At least half of the rest is for buffers.
  const size_t half = budget->free() / 2, kv = options.kv_limit > 0 ? std::min(options.kv_limit, half) : half;
  const auto pages = static_cast<int>(std::min<size_t>(kv / page, 1 << 20));
  // A pool takes a limit of nothing for none.
  if (pages < 1)
    fail(
        "keys and values have {} of the card's memory, and a page of {} tokens takes {}: raise --kv-memory "
        "or --memory-limit",
        bytes_text(static_cast<double>(kv)), kChunk, bytes_text(static_cast<double>(page)));
  return std::make_unique<CudaModel>(checkpoint, device, std::move(weights), memory, pages, budget);
}

}  // namespace dvlm::cuda
