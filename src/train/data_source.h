// One entry of a training configuration's "data".
#pragma once
#include <cstdint>
#include <string>

namespace dvlm {

struct DataSource {
  std::string path = {};        // see data/record_file.h
  std::string image_root = {};  // where its pictures are; empty: beside the file
  double weight = 1;  // 2: every record twice in an epoch; 0.5: half of them, drawn anew in every epoch
  int64_t limit = 0;  // the first so many records; 0 = all
  std::string box_format = "text";  // see train/boxes.h

  bool operator==(const DataSource&) const = default;
};

}  // namespace dvlm
