// Images and videos of a request on their way to the vision tower.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
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
  std::shared_ptr<const void> place;              // among those that wait, see VisualCache; null: none taken

  void drop_pixels() {
    image = {};
    patches = {};
    place.reset();
  }
};

// Other requests' pictures have the memory that is for those that wait to be encoded.
struct NoPlaceForVisual {};

struct VisualTotals {
  size_t bytes = 0, limit = 0;  // of features, now
  uint64_t found = 0, encoded = 0;
};

// Encoded images by content, the least recently used leaving first, and places for those that are not encoded
// yet. Safe to use from several threads.
class VisualCache {
 public:
  // `limit`: bytes of features; `most_waiting`: tokens of images and videos that wait to be encoded at once.
  explicit VisualCache(size_t limit, int64_t most_waiting = INT64_MAX)
      : limit_(limit), most_waiting_(most_waiting) {}
  int64_t most_waiting() const { return most_waiting_; }
  // A place for so many tokens until the last copy of it goes. Throws NoPlaceForVisual.
  std::shared_ptr<const void> place_for(int64_t tokens);
  std::optional<Visual> find(const ContentKey& key);
  void insert(const Visual& visual);  // with features; not kept when it alone exceeds the limit
  void clear();
  VisualTotals totals() const;

 private:
  mutable std::mutex mutex_;
  const size_t limit_;
  const int64_t most_waiting_;
  std::atomic<int64_t> waiting_{0};
  size_t bytes_ = 0;
  uint64_t found_ = 0, encoded_ = 0;
  std::list<Visual> visuals_;  // the most recently used first
  std::map<ContentKey, std::list<Visual>::iterator> index_;
};

// Reads and resizes one of them, or finds it in `cache` (which may be null). Throws Error naming the source
// when it cannot be read, and before it is resized what `admit` throws when it hears its tokens, and
// NoPlaceForVisual.
Visual load_visual(const ContentPart& part, const Request& request, const ModelConfig& config,
                   VisualCache* cache, const std::function<void(int64_t)>& admit = {});

// Patches of an image that load_visual returned without features.
Patches patches_of(Visual& visual, const ModelConfig& config);

}  // namespace dvlm
