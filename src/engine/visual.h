// Images and videos of a request on their way to the vision tower.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/content_hash.h"
#include "engine/engine.h"

namespace dvlm {

// One image or video: what the prompt needs to know of it, and its features or what they are computed from.
struct Visual {
  bool video = false;
  ContentKey key{};  // of the content and of everything that preprocessing depends on
  ImageInfo info;
  Grid grid;
  double second_per_grid = 0;
  std::shared_ptr<const ImageFeatures> features;  // null until encoded
  Image image;                                    // an image not yet encoded, resized
  Patches patches;                                // a video not yet encoded
};

struct VisualTotals {
  size_t bytes = 0, limit = 0;  // of features, now
  uint64_t found = 0, encoded = 0;
};

// Encoded images by content, the least recently used leaving first. Safe to use from several threads.
class VisualCache {
 public:
  explicit VisualCache(size_t limit) : limit_(limit) {}  // bytes of features
  std::optional<Visual> find(const ContentKey& key);
  void insert(const Visual& visual);  // with features; not kept when it alone exceeds the limit
  void clear();
  VisualTotals totals() const;

 private:
  mutable std::mutex mutex_;
  const size_t limit_;
  size_t bytes_ = 0;
  uint64_t found_ = 0, encoded_ = 0;
  std::list<Visual> visuals_;  // the most recently used first
  std::map<ContentKey, std::list<Visual>::iterator> index_;
};

// Images and videos in the order in which the template shows them.
std::vector<const ContentPart*> visuals_of(const Conversation& conversation);

// Reads and resizes one of them, or finds it in `cache` (which may be null). Throws Error naming the source
// when it cannot be read, and TooManyTokens before it is resized when it would be more than `max_tokens` (0:
// any number).
Visual load_visual(const ContentPart& part, const Request& request, const ModelConfig& config,
                   VisualCache* cache, int64_t max_tokens = 0);

// Patches of an image that load_visual returned without features.
Patches patches_of(Visual& visual, const ModelConfig& config);

}  // namespace dvlm
