// The records of a run's data sets, and the order in which training reads them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/record_file.h"
#include "train/data_source.h"
#include "train/sample.h"

namespace dvlm {

class Dataset {
 public:
  // Throws Error when a file is missing or holds no record.
  explicit Dataset(const std::vector<DataSource>& sources);

  int64_t size() const { return size_; }              // records that may be read
  int64_t epoch_size() const { return epoch_size_; }  // samples of an epoch: weights counted

  // Reads record i. Throws Error naming file and record, see make_sample().
  Sample load(int64_t i, const SampleContext& context) const;
  std::string name(int64_t i) const;

  // About how many tokens record i has: its text by its bytes, its pictures by theirs. A record that cannot
  // be read has some, too.
  int64_t length(int64_t i, const SampleContext& context) const;

  // A sample of an epoch. `place`: its number among the epoch's samples before they are put in order.
  struct Draw {
    int64_t record = 0, place = 0;
    bool operator==(const Draw&) const = default;
  };
  // The samples of one epoch in a seeded order: whole weights repeat records, the rest of a weight takes a
  // seeded choice of them.
  std::vector<Draw> epoch_order(uint64_t seed, int64_t epoch) const;

  // The same for the same content in the same order, wherever the files are.
  std::string fingerprint() const;

 private:
  struct Source {
    std::unique_ptr<RecordFile> file;
    std::string image_root;
    BoxFormat boxes = BoxFormat::text;
    int64_t first = 0, records = 0;  // of all
    int64_t whole = 0, part = 0;     // times that an epoch has all of them; how many it has once more
  };
  const Source& source_of(int64_t i) const;

  std::vector<Source> sources_;
  int64_t size_ = 0, epoch_size_ = 0;
};

}  // namespace dvlm
